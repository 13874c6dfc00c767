import { once } from 'node:events'
import type { ListenOptions, Server } from 'node:net'
import type { Address, Listener, Socket } from '../../ports/socket.ts'
import { isLoopback, placeOf, unreachable } from './addresses.ts'

/** A `Listener` on a server of node:net. Its owner passes each new socket to `admit`. */
export class ByteListener implements Listener {
  readonly #server: Server
  readonly #whenClosed: () => void
  /** The bound address. Known after `open` has resolved. */
  address: Address = { host: '', port: 0, local: false }
  #waiting: Socket[] = []
  #accept: ((socket: Socket) => void) | undefined
  #closed = false

  /** `whenClosed` is called when the listener is closed, to close the sockets that are not admitted yet. */
  constructor(server: Server, whenClosed: () => void = () => {}) {
    this.#server = server
    this.#whenClosed = whenClosed
  }

  /** Resolves when peers can connect; rejects with an OspError `unreachable` that names the place. */
  async open(where: ListenOptions): Promise<void> {
    const place = where.path ?? placeOf(where.host ?? '', where.port ?? 0)
    try {
      await once(this.#server.listen(where), 'listening')
    } catch (error) {
      throw unreachable('listen', place, error)
    }
    // Accepting a peer can fail, for example without a free file descriptor. The peer notices it and retries.
    this.#server.on('error', () => {})
    const bound = this.#server.address()
    this.address =
      typeof bound === 'object' && bound
        ? { host: bound.address, port: bound.port, local: isLoopback(bound.address) }
        : { host: bound ?? place, port: 0, local: true }
  }

  /** Passes a socket on, or keeps it until `start`. */
  admit(socket: Socket): void {
    if (this.#closed) socket.destroy()
    else if (this.#accept) this.#accept(socket)
    else this.#waiting.push(socket)
  }

  start(accept: (socket: Socket) => void): void {
    this.#accept = accept
    for (const socket of this.#waiting.splice(0)) this.admit(socket)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const socket of this.#waiting.splice(0)) socket.destroy()
    // Does not wait for the callback, which runs after all accepted sockets have closed.
    this.#server.close()
    this.#whenClosed()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
