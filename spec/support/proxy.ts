import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP proxy on loopback that counts the bytes of clients, and whose target can change. */
export interface CountingProxy extends AsyncDisposable {
  readonly port: number
  /** The port on loopback to which new links are connected. */
  target: number
  /** Bytes that clients have sent so far. */
  readonly sentBytes: number
  /** Resolves when clients have sent this many bytes in total. */
  reached(bytes: number): Promise<void>
}

export async function proxy(): Promise<CountingProxy> {
  const open = new Set<Socket>()
  const waiting = new Set<() => void>()
  let sentBytes = 0
  const self = { target: 0 }

  const server = createServer((client) => {
    const upstream = connect({ port: self.target, host: '127.0.0.1' })
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.on('close', () => open.delete(socket))
    }
    client.on('error', () => upstream.destroy()).on('close', () => upstream.destroy())
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('data', (bytes) => {
      sentBytes += bytes.length
      for (const look of waiting) look()
    })
    client.pipe(upstream)
    upstream.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  return {
    port,
    get target() {
      return self.target
    },
    set target(port: number) {
      self.target = port
    },
    get sentBytes() {
      return sentBytes
    },
    reached: (bytes) =>
      new Promise((resolve) => {
        const look = () => {
          if (sentBytes < bytes) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        look()
      }),
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
