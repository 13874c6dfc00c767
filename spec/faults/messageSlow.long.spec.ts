import assert from 'node:assert/strict'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { createClient } from '../../lib/index.ts'
import { KiB, MiB } from '../../lib/limits.ts'
import { registFlags } from '../../lib/wire/protocol.ts'
import { eagerPlatform } from '../support/chat/eager.ts'
import { bytesOf, RawStream } from '../support/rawStream.ts'
import { areOnline, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { type WatchedServer, watchedServer } from '../support/watchedServer.ts'

/** Registers, and from then on answers pings and reads nothing. */
async function deaf(port: number, user: string): Promise<RawStream> {
  const raw = await RawStream.letIn(port, user, user)
  await raw.write(bytesOf({ event: 'RegistReq', userName: user, flags: registFlags.listening }, 2))
  await raw.until('RegistListNtf')
  raw.stream.pause()
  let seq = 2
  const pinging = setInterval(() => raw.stream.write(bytesOf({ event: 'PingReq' }, ++seq)), 100)
  raw.stream.on('close', () => clearInterval(pinging))
  return raw
}

const numbers = (count: number) => Array.from({ length: count }, (_, at) => `${at}`)
const padding = ' '.repeat(60 * KiB)
const textsOf = ({ texts }: Recipient) => texts.map((text) => text.trimEnd())

const clientOf = (server: WatchedServer, user: string) =>
  createClient(tcp({ port: server.port }), { user, platform: eagerPlatform() })

/** Returns the reason for which the server has closed a link of this user, once it has. */
async function codeOfEnd(server: WatchedServer, name: string): Promise<unknown> {
  for (;;) {
    const { log } = await server.report()
    const closed = log.find(({ event, user }) => event === 'link-closed' && user === name)
    if (closed) return closed.code
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

spec('recipients that read nothing', (it) => {
  it('use little memory of the server, however many messages wait for them, and delay no other recipient', async () => {
    await using server = await watchedServer()
    await using alice = clientOf(server, 'alice')
    await using listening = clientOf(server, 'carol')
    const carol = new Recipient(listening)
    const names = numbers(8).map((at) => `deaf-${at}`)
    await using _ = all(await Promise.all(names.map((name) => deaf(server.port, name))))
    await areOnline(alice, [...names, 'carol'])
    const { usedBytes } = await server.report()
    const texts = numbers(300)
    for (const text of texts) await alice.send([...names, 'carol'], text + padding)
    await carol.got(`299${padding}`)
    assert.deepEqual(textsOf(carol), texts)
    const { status, peakBytes } = await server.report()
    assert.deepEqual(status.online.map(({ user }) => user).sort(), ['carol', ...names])
    const usedMiB = (peakBytes - usedBytes) / MiB
    const sentMiB = (texts.length * padding.length * 9) / MiB
    console.log(`${usedMiB.toFixed(0)} MiB were used for ${sentMiB.toFixed(0)} MiB of deliveries`)
    assert.ok(usedMiB < sentMiB / 4)
  })

  it('are closed as slow consumers, and receive everything when they return', async () => {
    // More for one recipient than a socket accepts.
    const limits = { deliveryBytes: 12 * MiB, deliveryWindow: 256, unsentBytes: 16 * MiB, keepAliveMs: 1_000 }
    await using server = await watchedServer(limits, { peaks: false })
    await using alice = clientOf(server, 'alice')
    const bob = await deaf(server.port, 'bob')
    await using _ = all([bob])
    await areOnline(alice, ['bob'])
    const texts = numbers(220)
    for (const text of texts) await alice.send(['bob'], text + padding)
    assert.equal(await codeOfEnd(server, 'bob'), 'slow-consumer')
    await using listening = clientOf(server, 'bob')
    const back = new Recipient(listening)
    await back.got(`219${padding}`)
    assert.deepEqual(textsOf(back), texts)
    assert.ok((back.handed[0]?.attempt ?? 0) > 1)
  })
})

/** Owns several streams. */
const all = (streams: readonly RawStream[]): AsyncDisposable => ({
  async [Symbol.asyncDispose]() {
    for (const { stream } of streams) stream.destroy()
  },
})
