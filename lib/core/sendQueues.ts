import { fixed, KiB } from '../limits.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, headerBytes } from '../wire/frame.ts'
import { events } from '../wire/protocol.ts'
import { Queue } from './queue.ts'

/** `replies`: replies, notifications and repetitions; `chunks`: chunks and requests that must not overtake them. */
export type SendPriority = 'replies' | 'requests' | 'chunks'

/** Whether a frame may be sent. `never`: its request was answered or abandoned before it was sent. */
export type SendDecision = 'now' | 'later' | 'never'

/** A frame for the socket. Call `onFlushed` when its bytes have left. */
export interface QueuedFrame {
  readonly frame: Frame
  readonly onFlushed: (() => void) | undefined
}

/** The frames of one link that wait for the socket. Small ones overtake chunks (docs/protocol.md, "Delivery"). */
export class SendQueues {
  readonly #replies = new Queue<QueuedFrame>()
  readonly #requests = new Queue<QueuedFrame>()
  readonly #chunks = new Queue<QueuedFrame>()
  #handed = 0
  /** Bytes of the waiting replies and requests. */
  smallBytes = 0

  get isEmpty(): boolean {
    return this.#replies.length + this.#requests.length + this.#chunks.length === 0
  }

  /** The number of waiting replies. */
  get replies(): number {
    return this.#replies.length
  }

  add(priority: SendPriority, frame: Frame, onFlushed?: () => void): void {
    this.push(priority, { frame, onFlushed })
  }

  push(priority: SendPriority, queued: QueuedFrame): void {
    const queue = priority === 'replies' ? this.#replies : priority === 'requests' ? this.#requests : this.#chunks
    queue.push(queued)
    if (priority !== 'chunks') this.smallBytes += sizeOf(queued.frame)
  }

  /** Returns the next frame for the socket. A frame that `decide` defers blocks only later frames of its priority. */
  next(decide: (frame: Frame) => SendDecision): QueuedFrame | undefined {
    return (
      this.#nextOf(this.#replies, decide) ?? this.#nextOf(this.#requests, decide) ?? this.#nextOf(this.#chunks, decide)
    )
  }

  #nextOf(queue: Queue<QueuedFrame>, decide: (frame: Frame) => SendDecision): QueuedFrame | undefined {
    const isChunk = queue === this.#chunks
    for (let first = queue.first; first; first = queue.first) {
      const decision = decide(first.frame)
      if (decision === 'later' || (isChunk && this.#handed >= fixed.chunksHanded)) return undefined
      queue.shift()
      if (!isChunk) this.smallBytes -= sizeOf(first.frame)
      if (decision === 'now') return isChunk ? this.#handChunk(first) : first
      first.onFlushed?.()
    }
    return undefined
  }

  #handChunk({ frame, onFlushed }: QueuedFrame): QueuedFrame {
    const weight = weightOf(frame)
    this.#handed += weight
    return {
      frame,
      onFlushed: () => {
        this.#handed -= weight
        onFlushed?.()
      },
    }
  }
}

/** Content of at least this size counts as a chunk, and shorter content as a part. A power of two, so that sums are exact. */
const wholeChunkBytes = 32 * KiB

const { PostFileReq } = events

const weightOf = (frame: Frame) =>
  frame.event === PostFileReq.number ? 1 : Math.min(1, sizeOf(frame) / wholeChunkBytes)

const sizeOf = (frame: Frame) => headerBytes + lengthOf(frame.payload)
