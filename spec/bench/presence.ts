/**
 * `npm run bench:presence`: cost of the presence list with many registered peers that only count frames: 10,000 over
 * the memory transport (server and peers in one process), 2,000 over TCP (the server in its own process).
 */
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Limits } from '../../lib/limits.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import { startServer } from '../../lib/server/server.ts'
import { BarePeer, registerMany } from '../support/barePeer.ts'
import { watchedServer } from '../support/watchedServer.ts'

const changes = 20

function limitsFor(count: number): Partial<Limits> {
  return {
    clients: count + 10,
    links: count + 10,
    linksPerAddress: count + 10,
    hellosPerSecond: 1_000_000,
    keepAliveMs: 600_000,
  }
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

/**
 * One client connects and disconnects repeatedly: measures the cost of each change per peer, and the time until it has
 * reached all.
 */
async function measure(name: string, to: Transport, count: number, usedBytes: () => Promise<number>): Promise<void> {
  const before = await usedBytes()
  const began = performance.now()
  const peers = await registerMany(to, count)
  const registeredMs = performance.now() - began
  const perPeer = ((await usedBytes()) - before) / count
  const reachedMs: number[] = []
  await settled(peers, count)
  const bytesBefore = peers.reduce((sum, { bytes }) => sum + bytes, 0)
  let version = count
  for (let change = 0; change < changes; change++) {
    // A change shortly after another one waits for up to 50 ms.
    await new Promise((resolve) => setTimeout(resolve, 100))
    const start = performance.now()
    const visitor = await BarePeer.register(to, 'visitor')
    await settled(peers, ++version)
    reachedMs.push(performance.now() - start)
    visitor.socket.destroy()
    await settled(peers, ++version)
  }
  const bytes = peers.reduce((sum, peer) => sum + peer.bytes, 0) - bytesBefore
  console.log(
    `${name}, ${count} peers: ${(bytes / count / changes / 2).toFixed(1)} bytes per change and peer; ` +
      `${(perPeer / 1024).toFixed(1)} KiB of memory per peer; registered in ${(registeredMs / 1000).toFixed(1)} s; ` +
      `a change has reached all after ${median(reachedMs).toFixed(0)} ms (median of ${changes}, at most ${Math.max(...reachedMs).toFixed(0)})`,
  )
  for (const peer of peers) peer.socket.destroy()
}

async function settled(peers: readonly BarePeer[], version: number): Promise<void> {
  await Promise.all(peers.map((peer) => peer.until(() => peer.version >= version)))
}

async function inMemory(count: number): Promise<void> {
  const transport = memoryTransport()
  const server = await startServer({
    platform: nodePlatform(),
    authenticator: loopbackOnly(),
    listen: transport,
    storage: memory(),
    limits: limitsFor(count),
  })
  await measure('memory socket (both ends)', transport, count, async () => {
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  })
  await server.close()
}

async function overTcp(count: number): Promise<void> {
  await using server = await watchedServer(limitsFor(count), { peaks: false })
  await measure(
    'TCP (the server alone)',
    tcp({ port: server.port }),
    count,
    async () => (await server.report()).usedBytes,
  )
}

await inMemory(10_000)
await overTcp(2_000)
