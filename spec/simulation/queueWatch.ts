import { fixed, KiB } from '../../lib/limits.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import type { Link } from './network.ts'
import type { SimulatedProcess } from './process.ts'
import type { Queues } from './queues.ts'
import type { VirtualTime } from './time.ts'

/** Memory of a request in addition to its payload. */
const requestBytes = 4 * KiB

/** Requests that are answered each time they arrive. */
const idempotent: readonly number[] = [
  events.PostFileReq.number,
  events.ListReq.number,
  events.ListFilesReq.number,
  events.StatFileReq.number,
  events.ReadFileReq.number,
]

/** Requests to the apps of a server. */
const requests: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, app, number }) => (kind === 'request' && app !== 'link' ? [number] : [])),
)
const replies: ReadonlySet<number> = new Set(
  Object.values(events).flatMap(({ kind, number }) => (kind === 'ack' || kind === 'nack' ? [number] : [])),
)

/** Pending requests of a link: bytes by seq, for each copy that is answered. */
interface Waiting {
  readonly bytes: Map<number, number[]>
  readonly seen: Set<number>
  newest: number
  sum: number
}

/** Observes the frames that arrive at a server: the pending requests, and the rate at which a user's links are read. */
export class QueueWatch {
  readonly #queues: Queues
  readonly #time: VirtualTime
  readonly #framesPerSecond: number
  /** By server and user, the time at which the data read so far is paid for at the permitted rate. */
  readonly #untilMs = new WeakMap<SimulatedProcess, Map<string, number>>()

  constructor(queues: Queues, time: VirtualTime, framesPerSecond: number) {
    this.#queues = queues
    this.#time = time
    this.#framesPerSecond = framesPerSecond
  }

  watch(link: Link): void {
    const { server } = link
    const { heard, sent } = server
    const waiting: Waiting = { bytes: new Map(), seen: new Set(), newest: 0, sum: 0 }
    let user = ''
    let isOpen = false
    server.heard = (frame) => {
      if (frame.event === events.HelloReq.number) user = (decode(frame) as WireMessage<'HelloReq'>).userName
      if (isOpen && !server.over) this.#read(link, user)
      // Answers that the socket has not accepted cannot be distinguished from pending requests.
      if (!server.isFull && !server.over)
        this.#queues.saw('bytes of requests of a link that wait while it is read', waiting.sum)
      this.#come(waiting, frame)
      return heard(frame)
    }
    server.sent = (frame) => {
      sent(frame)
      if (frame.event === events.HelloAck.number) isOpen = true
      if (replies.has(frame.event)) this.#answered(waiting, frame)
    }
  }

  /** Returns whether a repeated request is ignored because its reply is remembered, or is too old to be remembered. */
  #come(waiting: Waiting, { event, seq, payload }: Frame): void {
    waiting.newest = Math.max(waiting.newest, seq)
    const isDropped = waiting.seen.has(seq) || seq + fixed.replies <= waiting.newest
    if (!requests.has(event) || (isDropped && !idempotent.includes(event))) return
    waiting.seen.add(seq)
    const bytes = requestBytes + lengthOf(payload)
    waiting.bytes.set(seq, [...(waiting.bytes.get(seq) ?? []), bytes])
    waiting.sum += bytes
  }

  #answered(waiting: Waiting, { seq }: Frame): void {
    waiting.sum -= waiting.bytes.get(seq)?.shift() ?? 0
  }

  /** A frame of a user's link was read. */
  #read({ serverProcess }: Link, user: string): void {
    const untilMs = this.#untilMs.get(serverProcess) ?? new Map<string, number>()
    this.#untilMs.set(serverProcess, untilMs)
    const now = this.#time.now()
    const frameMs = 1_000 / this.#framesPerSecond
    const until = Math.max(untilMs.get(user) ?? now, now) + frameMs
    untilMs.set(user, until)
    this.#queues.saw('frames of a user that are read ahead', Math.floor((until - now) / frameMs + 1e-6))
  }
}
