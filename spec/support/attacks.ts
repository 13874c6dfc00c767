import { once, setMaxListeners } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { bytesOf, helloBytes, RawStream } from './rawStream.ts'

/** A connection, and when it is gone, by whichever side. */
interface Connection {
  readonly stream: Socket
  readonly gone: Promise<void>
}

/** A connection from an address of this machine, 127.0.0.`from`, until `signal` aborts; what comes is thrown away. */
async function connection(port: number, from: number, signal: AbortSignal): Promise<Connection> {
  const stream = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${from}`, noDelay: true, signal })
  stream.on('error', () => {})
  stream.resume()
  const gone = new Promise<void>((resolve) => stream.on('close', () => resolve()))
  await Promise.race([once(stream, 'connect').catch(() => {}), gone])
  return { stream, gone }
}

/** Does `one` again and again, `atOnce` at a time, until `signal` aborts. */
async function again(atOnce: number, signal: AbortSignal, one: (at: number) => Promise<void>): Promise<void> {
  // Each connection listens to it.
  setMaxListeners(0, signal)
  const row = async (at: number) => {
    while (!signal.aborted) await one(at)
  }
  await Promise.all(Array.from({ length: atOnce }, (_, at) => row(at)))
}

/** Opens connections from four addresses, and another one in place of each that was ended; `use` is what it does on one. */
function keepingOpen(links: number, use: (it: Connection) => Promise<void> = ({ gone }) => gone) {
  return (port: number, signal: AbortSignal) =>
    again(links, signal, async (at) => {
      const { stream, gone } = await connection(port, 1 + (at % 4), signal)
      await use({ stream, gone })
      stream.destroy()
      // Who is turned away comes back somewhat later, as an attacker would who does not care for answers.
      await pause(100)
    })
}

/** A byte of a HELLO_REQ each second. */
async function byteBySecond({ stream, gone }: Connection): Promise<void> {
  for (const byte of helloBytes()) {
    if (stream.destroyed) return
    stream.write(Uint8Array.of(byte))
    await Promise.race([pause(1_000), gone])
  }
  await gone
}

/** The header of a frame of nearly 4 GiB, and then what it is full of. */
async function announcing({ stream, gone }: Connection): Promise<void> {
  const header = bytesOf({ event: 'PingReq' }).subarray(0, 20)
  header.writeUInt32BE(0xffff_ffff)
  stream.write(header)
  stream.write(new Uint8Array(65_536))
  await gone
}

/** Asks and asks, and reads no answer. */
async function neverReading(port: number, signal: AbortSignal): Promise<void> {
  await again(1, signal, async () => {
    await using raw = await RawStream.letIn(port)
    raw.stream.pause()
    for (let seq = 2; !raw.over && !raw.stream.destroyed && !signal.aborted; seq += 2_000) {
      const pings = Array.from({ length: 2_000 }, (_, at) => bytesOf({ event: 'PingReq' }, seq + at))
      const given = pause(1_000)
      await Promise.race([raw.write(Buffer.concat(pings)), given])
    }
  })
}

/** Whose names an attacker knows. */
export const knownUsers = Array.from({ length: 20 }, (_, at) => `user-${at}`)

/** HELLO_REQs that are refused, as fast as they can be said; `users` are who it claims to be, by the same token. */
function failing(users: readonly string[], token = '') {
  return (port: number, signal: AbortSignal) => {
    let count = 0
    return again(50, signal, async () => {
      const { stream, gone } = await connection(port, 1, signal)
      stream.write(helloBytes('storm', users[count++ % users.length], 1, token))
      await gone
    })
  }
}

/** What strangers can do to a server, each until its signal aborts. */
export const attacks = {
  '2,000 links that never speak': keepingOpen(2_000),
  '400 links that say a byte a second': keepingOpen(400, byteBySecond),
  '20 links that announce 4 GiB, again and again': keepingOpen(20, announcing),
  'a link that asks and never reads': neverReading,
  'a storm of HELLO_REQs with a bad name': failing(['..']),
  'a storm of wrong tokens for names that are known': failing(knownUsers, `osp_${'a'.repeat(43)}`),
} as const satisfies Record<string, (port: number, signal: AbortSignal) => Promise<void>>
