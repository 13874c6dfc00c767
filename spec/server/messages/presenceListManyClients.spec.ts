import assert from 'node:assert/strict'
import { tcp } from '../../../lib/adapters/net/tcp.ts'
import { BarePeer, registerMany } from '../../support/barePeer.ts'
import { spec } from '../../support/spec.ts'
import { watchedServer } from '../../support/watchedServer.ts'

/** What a visitor's coming costs each of `count` registered peers, once all of them know of it. */
async function costOfChange(count: number): Promise<{ bytes: number; frames: number }> {
  const enough = { clients: count + 1, links: count + 1, linksPerAddress: count + 1, hellosPerSecond: 1_000_000 }
  // On a busy machine the default interval passes: the server would send pings, which count as frames and get no reply.
  await using server = await watchedServer({ ...enough, keepAliveMs: 3_600_000 }, { peaks: false })
  const to = tcp({ port: server.port })
  const peers = await registerMany(to, count)
  await Promise.all(peers.map((peer) => peer.until(() => peer.version === count)))
  const before = peers.map(({ bytes, frames }) => ({ bytes, frames }))
  const visitor = await BarePeer.register(to, 'visitor')
  await Promise.all(peers.map((peer) => peer.until(() => peer.version === count + 1)))
  const costs = peers.map(({ bytes, frames }, at) => ({
    bytes: bytes - (before[at]?.bytes ?? 0),
    frames: frames - (before[at]?.frames ?? 0),
  }))
  for (const { socket } of [...peers, visitor]) socket.destroy()
  for (const cost of costs) assert.deepEqual(cost, costs[0], 'it costs some more than others')
  return costs[0] ?? assert.fail('there are no peers')
}

spec('a change of the online list', (it) => {
  it('reaches 1,000 clients over TCP, and costs each of them what it costs each of 10', async () => {
    const many = await costOfChange(1_000)
    assert.deepEqual(many, await costOfChange(10))
    assert.equal(many.frames, 1)
  })
})
