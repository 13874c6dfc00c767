import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** The number of failed connections after which a server is no longer chosen. */
const failuresMost = 3

interface Backend {
  port: number
  failures: number
  isSuspended: boolean
}

/** A TCP balancer on loopback. It has no health check: it finds out that a server is dead by failed connections. */
export interface TcpBalancer extends AsyncDisposable {
  readonly port: number
  /** The number of connections that are open. */
  readonly connections: number
  /** Sets the port of a server, and chooses it again. */
  set(name: string, port: number): void
  /** Stops choosing a server. Its connections stay open. */
  suspend(name: string): void
  /** Ends up to `most` connections, the oldest first. Returns how many it ended. */
  cut(most?: number): number
}

/** Starts a balancer that chooses its servers one after another. */
export async function tcpBalancer(): Promise<TcpBalancer> {
  const backends = new Map<string, Backend>()
  const pairs = new Set<() => void>()
  let turn = 0
  const next = () => {
    const usable = [...backends.values()].filter(({ failures, isSuspended }) => !isSuspended && failures < failuresMost)
    return usable[turn++ % usable.length]
  }
  const listener = createServer({ noDelay: true }, (client) => {
    client.on('error', () => {})
    const backend = next()
    if (backend) relay(client, backend, pairs)
    else client.destroy()
  })
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    get connections() {
      return pairs.size
    },
    set: (name, port) => void backends.set(name, { port, failures: 0, isSuspended: false }),
    suspend(name) {
      const backend = backends.get(name)
      if (backend) backend.isSuspended = true
    },
    cut(most = Number.POSITIVE_INFINITY) {
      const ended = [...pairs].slice(0, most)
      for (const end of ended) end()
      return ended.length
    },
    async [Symbol.asyncDispose]() {
      listener.close()
      for (const end of [...pairs]) end()
      await once(listener, 'close')
    },
  }
}

function relay(client: Socket, backend: Backend, pairs: Set<() => void>): void {
  const server = connect({ port: backend.port, host: '127.0.0.1', noDelay: true })
  let isConnected = false
  const end = () => {
    pairs.delete(end)
    client.destroy()
    server.destroy()
  }
  pairs.add(end)
  server.on('connect', () => {
    isConnected = true
    backend.failures = 0
  })
  server.on('error', () => {
    if (!isConnected) backend.failures++
  })
  for (const socket of [client, server]) socket.on('close', end)
  client.pipe(server).pipe(client)
}
