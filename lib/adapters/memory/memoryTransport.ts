import { OspError } from '../../errors.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { Listener, PeerAddress, Socket, SocketOptions, Transport } from '../../ports/socket.ts'
import { MemorySocket } from './memorySocket.ts'

/**
 * A transport within one process: its `listen` and its `dial` meet in this object and nowhere else. Nothing is
 * encoded; frames arrive in microtasks, so two ends that always have an answer ready leave timers no turn.
 */
export function memoryTransport(name = 'memory'): Transport {
  checkArgument('memoryTransport', 'the name', kinds.text, name)
  const address: PeerAddress = { host: name, port: 0, local: true }
  let open: MemoryListener | undefined
  return {
    async listen(options) {
      if (open) {
        throw new OspError('unreachable', `cannot listen at ${name}: a listener is there already; close it first`)
      }
      open = new MemoryListener(address, options, () => {
        open = undefined
      })
      return open
    },
    async dial(options, signal) {
      if (signal.aborted) throw new OspError('closed', `connecting to ${name} was given up`)
      if (!open) throw new OspError('unreachable', `cannot connect to ${name}: nothing listens there; start the server`)
      const [near, far] = MemorySocket.pair(address, options, open.options)
      open.admit(far)
      return near
    },
  }
}

class MemoryListener implements Listener {
  readonly address: PeerAddress
  readonly options: SocketOptions
  readonly #whenClosed: () => void
  #waiting: Socket[] = []
  #accept: ((socket: Socket) => void) | undefined
  #closed = false

  constructor(address: PeerAddress, options: SocketOptions, whenClosed: () => void) {
    this.address = address
    this.options = options
    this.#whenClosed = whenClosed
  }

  /** `accept` runs after the dial that led to it, as it does wherever there is a wire in between. */
  admit(socket: Socket): void {
    this.#waiting.push(socket)
    queueMicrotask(() => this.#handOver())
  }

  start(accept: (socket: Socket) => void): void {
    this.#accept = accept
    queueMicrotask(() => this.#handOver())
  }

  #handOver(): void {
    if (!this.#accept) return
    for (const socket of this.#waiting.splice(0)) this.#accept(socket)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#whenClosed()
    for (const socket of this.#waiting.splice(0)) socket.destroy()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
