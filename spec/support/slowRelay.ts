import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** Relays connections to a server of this machine. */
export interface SlowRelay extends AsyncDisposable {
  readonly port: number
  /** From now on, everything is passed on at once. */
  hurry(): void
}

/** Starts a relay that passes on `bytesPerSecond` of each client until it is told to hurry. */
export async function slowRelay(to: number, bytesPerSecond: number): Promise<SlowRelay> {
  const hurried = new AbortController()
  const sockets = new Set<Socket>()
  const relay = async (client: Socket) => {
    const server = connect({ port: to, host: '127.0.0.1', noDelay: true })
    const both = [client, server]
    for (const socket of both) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        for (const each of both) each.destroy()
      })
    }
    server.pipe(client)
    for await (const bytes of client) {
      server.write(bytes)
      await pause((1_000 * bytes.length) / bytesPerSecond, undefined, { signal: hurried.signal }).catch(() => {})
    }
    server.end()
  }
  // A connection that breaks ends its loop.
  const listener = createServer({ noDelay: true }, (client) => void relay(client).catch(() => {}))
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (listener.address() as AddressInfo).port,
    hurry: () => hurried.abort(),
    async [Symbol.asyncDispose]() {
      listener.close()
      for (const socket of sockets) socket.destroy()
      await once(listener, 'close')
    },
  }
}
