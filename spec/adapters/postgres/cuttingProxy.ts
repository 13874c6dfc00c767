import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A proxy for a database server that can end a connection instead of forwarding a response. */
export interface CuttingProxy extends AsyncDisposable {
  readonly url: string
  /** Ends the connection of the next request that contains this text, once the database has answered it. */
  cutAnswerTo(text: string): void
  /** Withholds the answer to the next request that contains this text. Resolves when the database has answered it. */
  holdAnswerTo(text: string): Promise<void>
}

/** Starts a proxy for the server of this URL. */
export async function cuttingProxy(of: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(of)
  const sockets = new Set<Socket>()
  let cut: string | undefined
  let hold: { readonly text: string; readonly answered: () => void } | undefined
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    let isCut = false
    let held: typeof hold
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
      if (hold && bytes.includes(hold.text)) {
        held = hold
        hold = undefined
      }
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => {
      if (isCut) end()
      else if (held) held.answered()
      else client.write(bytes)
    })
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
    holdAnswerTo: (text) =>
      new Promise((answered) => {
        hold = { text, answered }
      }),
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
