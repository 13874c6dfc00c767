import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A proxy for a database server that can end a connection instead of forwarding a response. */
export interface CuttingProxy extends AsyncDisposable {
  readonly url: string
  /** Ends the connection of the next request that contains this text, once the database has answered it. */
  cutAnswerTo(text: string): void
}

/** Starts a proxy for the server of this URL. */
export async function cuttingProxy(of: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(of)
  const sockets = new Set<Socket>()
  let cut: string | undefined
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    let isCut = false
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', end)
      socket.on('close', end)
    }
    client.on('data', (bytes) => {
      if (cut !== undefined && bytes.includes(cut)) {
        cut = undefined
        isCut = true
      }
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => (isCut ? end() : client.write(bytes)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(of)
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: url.href,
    cutAnswerTo(text) {
      cut = text
    },
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
