import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { appendFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { MiB } from '../../lib/limits.ts'
import { initialized } from '../cli/sharedCluster.ts'
import { type Daemon, daemon, type Place, place, run, start } from '../support/commands.ts'
import { databaseMissing } from '../support/postgres.ts'
import { spec } from '../support/spec.ts'

/** `MEBIBYTES` in the environment replaces the size of a short run. */
const size = Number(process.env.MEBIBYTES ?? 48) * MiB
const kills = 5
/** The content that may be transferred again, compared with the size. */
const most = 1.3

/** A relay that counts the bytes from the server, and stops forwarding after a given number of bytes. */
async function countingRelay(to: () => number) {
  let bytes = 0
  let stopAt = Number.POSITIVE_INFINITY
  let stopped = () => {}
  const relay = (client: Socket) => {
    const server = connect({ port: to(), host: '127.0.0.1' })
    const both = [client, server]
    for (const socket of both) socket.on('error', () => {}).on('close', () => both.map((each) => each.destroy()))
    client.pipe(server)
    server.on('data', (piece) => {
      bytes += piece.length
      client.write(piece)
      if (bytes < stopAt) return
      stopAt = Number.POSITIVE_INFINITY
      server.pause()
      stopped()
    })
  }
  const listener = createServer(relay)
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  return {
    address: `127.0.0.1:${(listener.address() as AddressInfo).port}`,
    get bytes() {
      return bytes
    },
    /** Resolves when the bytes have reached the given number. The connection on which this happens is not read any further. */
    reaches: (number: number) =>
      new Promise<void>((resolve) => {
        stopAt = number
        stopped = resolve
      }),
    [Symbol.asyncDispose]: async () => {
      listener.close()
      await once(listener, 'close')
    },
  }
}

async function writeRandom(path: string): Promise<void> {
  for (let left = size; left > 0; left -= 8 * MiB) await appendFile(path, randomBytes(Math.min(left, 8 * MiB)))
}

async function assertSame(one: string, other: string): Promise<void> {
  const pieces = createReadStream(other)[Symbol.asyncIterator]()
  for await (const piece of createReadStream(one)) assert.ok(piece.equals((await pieces.next()).value))
  assert.ok((await pieces.next()).done)
}

/**
 * Stores a file, and downloads it while the server and the client are killed in turn. `next` starts a server, which replaces the
 * former one.
 */
async function survives(at: Place, next: () => Promise<Daemon>): Promise<void> {
  const source = `${at.path}/source`
  await writeRandom(source)
  let server = await next()
  await using relay = await countingRelay(() => server.port)
  const common = ['--server', relay.address, '--state', `${at.path}/state`, '--user', 'alice']
  const sent = await run('osp', ['send', source, ...common])
  assert.equal(sent.code, 0, sent.stderr)
  const before = relay.bytes
  const get = () => start('osp', ['get', 'source', '--to', `${at.path}/copies`, ...common])
  let client = get()
  for (let kill = 1; kill <= kills; kill++) {
    await relay.reaches(before + (size * kill) / (kills + 1))
    if (kill % 2 === 0) {
      await client.kill()
      client = get()
    } else {
      await server.kill()
      server = await next()
    }
  }
  const { code } = await client.ended
  assert.equal(code, 0, client.stderr)
  await server[Symbol.asyncDispose]()
  const ratio = (relay.bytes - before) / size
  if (process.env.MEBIBYTES) process.stdout.write(`${ratio.toFixed(3)} times the size was transferred\n`)
  assert.ok(ratio >= 1 && ratio <= most, `${ratio} times the size was transferred`)
  await assertSame(source, `${at.path}/copies/source`)
}

spec('a download while its server and its client are killed in turn', (it) => {
  it(`transfers at most ${most} times the size of the file`, async () => {
    await using at = await place()
    await survives(at, () => daemon(`${at.path}/data`))
  })

  const title = `transfers at most ${most} times the size of the file if other servers of a cluster continue`
  if (databaseMissing !== undefined) return it.skip(title, databaseMissing)

  it(title, async () => {
    await using shared = await initialized()
    await using at = await place()
    let servers = 0
    await survives(at, () => shared.serve(`server-${servers++}`))
  })
})
