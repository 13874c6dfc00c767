import { once } from 'node:events'
import type { ListenOptions, Server } from 'node:net'
import type { Address, Listener, Socket } from '../../ports/socket.ts'
import { isLoopback, placeOf, unreachable } from './addresses.ts'

/** A server of node:net or node:tls as a `Listener`; its maker hands each new socket to `admit`. */
export class ByteListener implements Listener {
  readonly #server: Server
  readonly #whenClosed: () => void
  #address: Address = { host: '', port: 0, local: false }
  #waiting: Socket[] = []
  #accept: ((socket: Socket) => void) | undefined
  #closed = false

  /** `whenClosed` ends what its maker has not admitted yet. */
  constructor(server: Server, whenClosed: () => void = () => {}) {
    this.#server = server
    this.#whenClosed = whenClosed
  }

  /** Where it listens; known once `open` has resolved. */
  get address(): Address {
    return this.#address
  }

  /** Resolves when peers can connect; rejects with an OspError `unreachable` that names the place. */
  async open(where: ListenOptions): Promise<void> {
    const place = where.path ?? placeOf(where.host ?? '', where.port ?? 0)
    try {
      await once(this.#server.listen(where), 'listening')
    } catch (error) {
      throw unreachable('listen', place, error)
    }
    // Accepting one peer can fail (no file descriptor is free): that peer sees it and tries again.
    this.#server.on('error', () => {})
    const bound = this.#server.address()
    this.#address =
      typeof bound === 'object' && bound
        ? { host: bound.address, port: bound.port, local: isLoopback(bound.address) }
        : { host: bound ?? place, port: 0, local: true }
  }

  /** Hands a socket over, or keeps it until `start`. */
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
    // Its callback would wait for the end of every socket that was handed over.
    this.#server.close()
    this.#whenClosed()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
