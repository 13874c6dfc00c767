import { type ServeOptions, type Server, serve } from 'ospd'
import { memory } from 'ospd/memory'
import { tcp } from 'ospd/node'

/** A server of the built package in this process. */
export interface Served extends AsyncDisposable {
  readonly server: Server
  readonly port: number
  /** `HOST:PORT` */
  readonly address: string
}

/** Serves on a free port, or on `port`, with everything in memory. */
export async function served(options: Partial<ServeOptions> & { port?: number } = {}): Promise<Served> {
  const { port: wanted = 0, ...more } = options
  const server = await serve({ listen: tcp({ port: wanted }), storage: memory(), ...more })
  const port = server.addresses[0]?.port ?? 0
  return { server, port, address: `127.0.0.1:${port}`, [Symbol.asyncDispose]: () => server.close() }
}
