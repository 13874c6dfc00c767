import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import type { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import type { Address, Socket, SocketEvents, SocketOptions, Transport } from '../../ports/socket.ts'
import type { Frame } from '../../wire/frame.ts'
import { upTo } from '../testCases.ts'

/** A transport to listen on, and transports that reach a listener. */
export interface TransportFactory {
  readonly listening: Transport
  reaching(address: Address): Transport
}

/** A clock that stands still; its alarms ring when a test case calls `ring`. */
export class HeldClock implements Clock {
  readonly #alarms = new Set<{ readonly atMs: number; readonly run: () => void }>()
  now = () => 0
  wallTime = () => 0

  alarm(atMs: number, run: () => void): Disposable {
    const alarm = { atMs, run }
    this.#alarms.add(alarm)
    return { [Symbol.dispose]: () => this.#alarms.delete(alarm) }
  }

  /** The times of the alarms, in milliseconds. */
  get set(): number[] {
    return [...this.#alarms].map(({ atMs }) => atMs)
  }

  ring(): void {
    const due = [...this.#alarms]
    this.#alarms.clear()
    for (const { run } of due) run()
  }
}

/** Returns options of a socket; the default clock stands still. */
export function socketOptions({ maxPayload = 2 * MiB, clock = new HeldClock() as Clock } = {}): SocketOptions {
  return { platform: { clock, crc32: (bytes, start = 0) => crc32(bytes, start) }, maxPayload }
}

/** Returns a frame with this number and payload. */
export function frameOf(seq: number, ...payload: Uint8Array[]): Frame {
  return { version: 1, flags: 0, event: 4, seq, app: 1, instance: 7, payload }
}

/** Returns `length` bytes that depend on `seed`. */
export function bytesOf(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 31 + seed * 17 + (at >> 8)) & 0xff)
}

/** Records the events of a socket in order. */
export class EventRecorder implements SocketEvents {
  readonly order: (keyof SocketEvents)[] = []
  readonly frames: Frame[] = []
  readonly begunBytes: number[] = []
  readonly faults: OspError[] = []
  readonly ends: (OspError | undefined)[] = []
  /** Runs within each `frame`. */
  onFrame: (frame: Frame) => void = () => {}
  /** Runs within each `drained`. */
  onDrained: () => void = () => {}
  #waiting: (() => void)[] = []

  begun = (payloadBytes: number) => this.#record('begun', this.begunBytes, payloadBytes)
  fault = (why: OspError) => this.#record('fault', this.faults, why)
  closed = (why?: OspError) => this.#record('closed', this.ends, why)

  frame(frame: Frame): void {
    this.#record('frame', this.frames, frame)
    this.onFrame(frame)
  }

  drained(): void {
    this.#record('drained')
    this.onDrained()
  }

  get seqs(): number[] {
    return this.frames.map(({ seq }) => seq)
  }

  count(event: keyof SocketEvents): number {
    return this.order.filter((each) => each === event).length
  }

  /** Resolves when `event` has occurred `count` times. */
  async times(event: keyof SocketEvents, count = 1): Promise<void> {
    while (this.count(event) < count) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  #record<T>(event: keyof SocketEvents, list: T[] = [], ...values: T[]): void {
    list.push(...values)
    this.order.push(event)
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

/** Both ends of a connection, not started, with recorders of their events. */
export type Ends = Awaited<ReturnType<typeof connectEnds>>

export async function connectEnds(open: () => TransportFactory, maxPayload = 2 * MiB) {
  const clock = new HeldClock()
  const options = socketOptions({ maxPayload, clock })
  const factory = open()
  // Accepted sockets stay open after the listener is closed.
  await using listener = await factory.listening.listen(options)
  const accepted = new Promise<Socket>((resolve) => listener.start(resolve))
  const near = await factory.reaching(listener.address).dial(options, new AbortController().signal)
  const far = await accepted
  const [nearEvents, farEvents] = [new EventRecorder(), new EventRecorder()]
  return {
    near,
    far,
    nearEvents,
    farEvents,
    /** One clock for both. */
    clock,
    start() {
      near.start(nearEvents)
      far.start(farEvents)
    },
    bothClosed: () => Promise.all([nearEvents.times('closed'), farEvents.times('closed')]),
    aWhile: () => aWhile(open),
    async [Symbol.asyncDispose]() {
      near.destroy()
      far.destroy()
      await Promise.all([near.close(), far.close()])
    },
  }
}

/** Waits for twenty round trips on another connection, in which an unexpected event would have occurred. */
export async function aWhile(open: () => TransportFactory): Promise<void> {
  await using ends = await connectEnds(open)
  const { near, far, nearEvents, farEvents } = ends
  farEvents.onFrame = (frame) => far.send(frame)
  ends.start()
  for (const seq of upTo(20)) {
    near.send(frameOf(seq))
    await nearEvents.times('frame', seq)
  }
}

export const megabyte = bytesOf(MiB)

/** Sends frames of 1 MiB, numbered from 1. Calls `onFlushed` with the number of frames whose bytes have left. */
export function sendMegabytes(socket: Socket, count: number, onFlushed?: (flushed: number) => void): void {
  let flushed = 0
  for (const seq of upTo(count)) socket.send(frameOf(seq, megabyte), () => onFlushed?.(++flushed))
}

/** Sends frames of 1 MiB until the socket is full. Returns the number of the last frame. */
export function fillSocket(socket: Socket): number {
  for (const seq of upTo(100)) if (!socket.send(frameOf(seq, megabyte))) return seq
  return assert.fail('it took 100 MiB and was never full')
}
