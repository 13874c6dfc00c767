import type { OspError } from '../../lib/errors.ts'
import type { PeerAddress, Socket, SocketEvents } from '../../lib/ports/socket.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import { type Frame, headerBytes } from '../../lib/wire/frame.ts'
import type { Link, SimulatedNetwork } from './network.ts'
import type { SimulatedProcess } from './process.ts'

/** The way in which a process reads an arriving frame. */
export type Heard = (frame: Frame) => Frame

/** Reads a frame unchanged. */
export const asSent: Heard = (frame) => frame

/** Bytes in flight beyond which a socket reports that it is full. */
export const fullBytes = 32 * 1024

/** One end of a simulated link. */
export class SimulatedSocket implements Socket {
  readonly reliable: boolean
  readonly guarded = true
  readonly peer: PeerAddress = { host: 'simulation', port: 0, local: true }
  maxPayload = Number.MAX_SAFE_INTEGER
  other: SimulatedSocket | undefined
  heard: Heard = asSent
  /** Called with each frame that is sent from here. */
  sent: (frame: Frame) => void = () => {}
  /** Whether the link is broken: frames that are sent are lost. */
  severed = false
  /** Frames that are sent before this time arrive after it, or are lost on an unreliable link. */
  muteUntilMs = 0
  readonly #network: SimulatedNetwork
  readonly #process: SimulatedProcess
  readonly #link: Link
  readonly #mostDelayMs: number
  readonly #gone: Promise<void>
  #resolveGone: () => void = () => {}
  #to: SocketEvents | undefined
  #closed = false
  #ending = false
  #paused = false
  #full = false
  /** Bytes sent from here that the other end has not accepted. */
  #underWay = 0
  #busyUntilMs = 0
  #lastArrivalMs = 0
  /** Frames that wait until this end reads again. */
  readonly #held: (() => void)[] = []

  constructor(network: SimulatedNetwork, process: SimulatedProcess, link: Link, reliable: boolean) {
    this.#network = network
    this.#process = process
    process.sockets++
    this.#link = link
    this.reliable = reliable
    this.#mostDelayMs = network.random.pick(network.faults.mostDelaysMs, 'delay of one direction')
    this.#gone = new Promise((resolve) => {
      this.#resolveGone = resolve
    })
  }

  get bytesUnderWay(): number {
    return this.#underWay
  }

  /** Whether it has reported that it is full, and has not drained since. */
  get isFull(): boolean {
    return this.#full
  }

  /** Stops sending. */
  get over(): boolean {
    return this.#closed || this.#ending
  }

  start(to: SocketEvents): void {
    this.#to = to
    this.#later(this.#network.machine.time.now(), () => this.#process.awake(() => this.#read()))
  }

  send(frame: Frame, left?: () => void): boolean {
    if (this.#closed || this.#ending) return false
    this.#carry(frame, left)
    this.#full ||= this.#underWay > fullBytes
    return !this.#full
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#read()
  }

  close(last?: Frame): Promise<void> {
    if (!this.#closed && !this.#ending) {
      if (last) this.#carry(last)
      this.#ending = true
      const { other } = this
      const lost = this.#muted && !this.reliable
      this.#later(this.#arrivalMs(this.#passedMs(0)), () => {
        if (!this.severed && !lost) other?.lose(undefined)
        this.lose(undefined)
      })
    }
    return this.#gone
  }

  destroy(): void {
    const { other } = this
    if (this.#closed) return
    const silent = this.severed || this.#muted
    this.#later(this.#network.machine.time.now() + this.#network.delayMs(this.#mostDelayMs), () => {
      if (!silent) other?.lose(undefined)
    })
    this.lose(undefined)
  }

  /** This end is closed; its owner is informed. */
  lose(why: OspError | undefined): void {
    if (this.#closed) return
    if (this.#process.alive && this.#process.frozen) {
      this.#process.awake(() => this.lose(why))
      return
    }
    this.#closed = true
    this.#process.sockets--
    this.#link.ended()
    this.#resolveGone()
    if (this.#process.alive) this.#to?.closed(why)
  }

  #carry(frame: Frame, left?: () => void): void {
    this.sent(frame)
    const { faults, random } = this.#network
    const bytes = headerBytes + lengthOf(frame.payload)
    this.#underWay += bytes
    const passedMs = this.#passedMs(bytes)
    const arrivalMs = this.#arrivalMs(passedMs)
    // The sender may overwrite its buffers after the frame was sent, so the bytes are copied at that time.
    let copy = frame
    const leftMs = passedMs + random.fraction('time to leave') * (arrivalMs - passedMs)
    this.#later(leftMs, () => {
      copy = { ...frame, payload: frame.payload.map((part) => part.slice()) }
      this.#process.awake(() => !this.#closed && left?.())
    })
    const arrive = () => !this.severed && !this.#network.down && this.other?.arrive(copy, bytes)
    const times = this.reliable ? 1 : this.#copies(faults.loss, faults.duplication)
    for (let n = 1; n < times; n++) this.#later(arrivalMs + this.#network.delayMs(this.#mostDelayMs), arrive)
    this.#later(arrivalMs, () => {
      if (times > 0) arrive()
      this.#taken(this.reliable && !this.severed ? 0 : bytes)
    })
  }

  #copies(loss: number, duplication: number): number {
    const { random } = this.#network
    if (random.chance(loss, 'a frame is lost') || this.#muted) return 0
    return random.chance(duplication, 'a frame is repeated') ? 2 : 1
  }

  /** Returns when this many bytes have passed the bottleneck, one frame after the other. */
  #passedMs(bytes: number): number {
    const { machine, faults } = this.#network
    this.#busyUntilMs = Math.max(this.#busyUntilMs, machine.time.now()) + bytes / faults.bytesPerMs
    return this.#busyUntilMs
  }

  /** On a reliable link no frame overtakes another; on an unreliable one any frame can. */
  #arrivalMs(passedMs: number): number {
    const atMs = passedMs + this.#network.delayMs(this.#mostDelayMs)
    if (!this.reliable) return atMs
    const muteMs = this.#muted ? this.muteUntilMs - this.#network.machine.time.now() : 0
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, atMs + muteMs)
    return this.#lastArrivalMs
  }

  arrive(frame: Frame, bytes: number): void {
    if (this.#closed) return
    this.#held.push(() => {
      if (this.reliable) this.other?.taken(bytes)
      this.#to?.frame(this.heard(frame))
    })
    this.#process.awake(() => this.#read())
  }

  taken(bytes: number): void {
    this.#taken(bytes)
  }

  #taken(bytes: number): void {
    this.#underWay -= bytes
    if (!this.#full || this.#underWay > fullBytes / 2) return
    this.#full = false
    this.#process.awake(() => !this.#closed && this.#to?.drained())
  }

  /** Returns whether a frame that is sent now does not arrive. */
  get #muted(): boolean {
    return this.#network.machine.time.now() < this.muteUntilMs
  }

  #read(): void {
    while (this.#to && !this.#paused && !this.#closed && this.#process.alive && !this.#process.frozen) {
      const next = this.#held.shift()
      if (!next) return
      next()
    }
  }

  #later(atMs: number, run: () => void): void {
    this.#network.machine.time.alarm(atMs, run)
  }
}
