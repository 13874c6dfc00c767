import { OspError } from '../../errors.ts'
import { checkArgument, kinds } from '../../options.ts'
import type { PeerAddress, Socket, SocketEvents, SocketOptions, Transport } from '../../ports/socket.ts'
import { deferred } from '../../runtime/deferred.ts'
import { lengthOf } from '../../wire/codec.ts'
import { type Frame, headerBytes } from '../../wire/frame.ts'
import { socketBounds } from '../net/socketBounds.ts'

/**
 * Returns a transport within one process: `dial` connects to the `listen` of the same object. Nothing is encoded.
 * Frames arrive in microtasks, so two ends that always answer at once prevent timers from running.
 */
export function memoryTransport(name = 'memory'): Transport {
  checkArgument('memoryTransport', 'the name', kinds.text, name)
  const address: PeerAddress = { host: name, port: 0, local: true }
  let open: { readonly options: SocketOptions; admit(socket: Socket): void } | undefined
  return {
    async listen(options) {
      if (open) {
        const text = `cannot listen on ${name}: another listener already listens there; close it first`
        throw new OspError('unreachable', text)
      }
      const waiting = new Set<Socket>()
      const started = deferred<(socket: Socket) => void>()
      // Sockets are accepted after the dial, as over a network.
      const admit = async (socket: Socket) => {
        waiting.add(socket)
        const accept = await started.promise
        if (waiting.delete(socket)) accept(socket)
      }
      const listener = { options, admit }
      open = listener
      const close = async () => {
        if (open === listener) open = undefined
        for (const socket of waiting) socket.destroy()
        waiting.clear()
      }
      return { address, start: started.resolve, close, [Symbol.asyncDispose]: close }
    },
    async dial(options, signal) {
      if (signal.aborted) throw new OspError('closed', `connecting to ${name} was aborted`)
      if (!open) throw new OspError('unreachable', `cannot connect to ${name}: nothing listens there; start the server`)
      const [near, far] = MemorySocket.pair(address, options, open.options)
      open.admit(far)
      return near
    },
  }
}

const sizeOf = (frame: Frame) => headerBytes + lengthOf(frame.payload)

/**
 * One end of a connection within a process. Frames go to the other end in microtasks, in order. Their payload is copied
 * at that moment. Frames that a paused end does not take stay with the sender, whose socket thus becomes full. It ends
 * as a TCP connection does: a closing end accepts all frames and reports nothing.
 */
class MemorySocket implements Socket {
  readonly reliable = true
  readonly guarded = true
  readonly peer: PeerAddress
  maxPayload: number
  readonly #clock: SocketOptions['platform']['clock']
  readonly #gone = deferred<void>()
  #other: MemorySocket = this
  #to: SocketEvents | undefined
  #phase: 'open' | 'faulted' | 'closing' | 'gone' = 'open'
  #reason: OspError | undefined
  #paused = false
  /** The sent frames that the other end has not taken yet. */
  #sent: { readonly frame: Frame; readonly onFlushed?: (() => void) | undefined }[] = []
  #unsentBytes = 0
  #full = false
  #scheduled = false
  #linger: Disposable | undefined

  private constructor(peer: PeerAddress, options: SocketOptions) {
    this.peer = peer
    this.maxPayload = options.maxPayload
    this.#clock = options.platform.clock
  }

  /** Returns the two ends of a new connection. Each has `address` as its peer. */
  static pair(address: PeerAddress, one: SocketOptions, other: SocketOptions): [MemorySocket, MemorySocket] {
    const [near, far] = [new MemorySocket(address, one), new MemorySocket(address, other)]
    near.#other = far
    far.#other = near
    return [near, far]
  }

  start(to: SocketEvents): void {
    this.#to = to
    if (this.#phase === 'gone') queueMicrotask(() => to.closed(this.#reason))
    else this.#other.#schedule()
  }

  send(frame: Frame, onFlushed?: () => void): boolean {
    if (this.#phase !== 'open' && this.#phase !== 'faulted') return false
    this.#take(frame, onFlushed)
    if (this.#unsentBytes > socketBounds.fullBytes) this.#full = true
    return !this.#full
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#other.#schedule()
  }

  close(last?: Frame): Promise<void> {
    if (this.#phase === 'open' || this.#phase === 'faulted') {
      if (last) this.#take(last)
      this.#phase = 'closing'
      this.#linger = this.#clock.alarm(this.#clock.now() + socketBounds.lingerMs, () => this.destroy())
      this.#schedule()
      this.#other.#schedule()
    }
    return this.#gone.promise
  }

  destroy(): void {
    if (this.#phase === 'gone') return
    const other = this.#other
    const lost = this.#unsentBytes > 0 || other.#unsentBytes > 0
    this.#go()
    other.#go(lost ? new OspError('link-lost', `the link to ${this.peer.host} broke: it was destroyed`) : undefined)
  }

  #take(frame: Frame, onFlushed?: () => void): void {
    this.#sent.push({ frame, onFlushed })
    this.#unsentBytes += sizeOf(frame)
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#handOver()
    })
  }

  /** Frames that are sent during this call wait for the next microtask, so that both ends make progress. */
  #handOver(): void {
    for (let batch = this.#sent.length; batch > 0 && this.#other.#reads; batch--) {
      const next = this.#sent.shift()
      if (!next) break
      this.#unsentBytes -= sizeOf(next.frame)
      this.#other.#receive(next.frame)
      if (this.#phase !== 'gone') next.onFlushed?.()
    }
    if (this.#phase !== 'gone' && this.#sent.length === 0) this.#emptied()
  }

  get #reads(): boolean {
    return this.#phase === 'closing' || (this.#phase === 'open' && this.#to !== undefined && !this.#paused)
  }

  /** Copies the payload, since the sender may overwrite it once the frame has left. */
  #receive(frame: Frame): void {
    if (this.#phase !== 'open') return
    const length = lengthOf(frame.payload)
    if (length > this.maxPayload) {
      this.#phase = 'faulted'
      const text = `a frame announces ${length} bytes, over the limit of ${this.maxPayload}`
      this.#to?.fault(new OspError('malformed', text))
    } else this.#to?.frame({ ...frame, payload: frame.payload.map((part) => new Uint8Array(part)) })
  }

  /** After a closing end has sent everything, both ends go: it reports nothing that it still receives. */
  #emptied(): void {
    if (this.#phase === 'closing') {
      this.#go()
      this.#other.#go()
    } else if (this.#full) {
      this.#full = false
      this.#to?.drained()
    }
  }

  #go(reason?: OspError): void {
    if (this.#phase === 'gone') return
    if (this.#phase !== 'closing') this.#reason = reason
    this.#phase = 'gone'
    this.#sent = []
    this.#linger?.[Symbol.dispose]()
    queueMicrotask(() => {
      this.#to?.closed(this.#reason)
      this.#gone.resolve()
    })
  }
}
