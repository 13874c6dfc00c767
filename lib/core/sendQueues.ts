import { fixed } from '../limits.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, headerBytes } from '../wire/frame.ts'
import { Queue } from './queue.ts'

/** `replies`: replies, notifications and repetitions; `chunks`: chunks and requests that must not overtake them. */
export type SendPriority = 'replies' | 'requests' | 'chunks'

/** Whether a frame may be sent. `never`: its request was answered or abandoned before it was sent. */
export type SendDecision = 'now' | 'later' | 'never'

interface Waiting {
  readonly frame: Frame
  readonly onFlushed: (() => void) | undefined
}

/**
 * The frames of one link that wait for the socket. Small frames overtake chunks, and the socket has at most two unsent chunks
 * at a time (docs/protocol.md, "Delivery").
 */
export class SendQueues {
  readonly #queues: Readonly<Record<SendPriority, Queue<Waiting>>> = {
    replies: new Queue(),
    requests: new Queue(),
    chunks: new Queue(),
  }
  #handed = 0
  #smallBytes = 0

  /** Bytes of the waiting replies and requests. */
  get smallBytes(): number {
    return this.#smallBytes
  }

  /** The number of waiting replies. */
  get replies(): number {
    return this.#queues.replies.length
  }

  add(priority: SendPriority, frame: Frame, onFlushed?: () => void): void {
    this.#queues[priority].push({ frame, onFlushed })
    if (priority !== 'chunks') this.#smallBytes += sizeOf(frame)
  }

  /**
   * Returns the next frame for the socket. Call its `onFlushed` when its bytes have left. A frame that `decide` defers holds up
   * the later frames of its priority only.
   */
  next(decide: (frame: Frame) => SendDecision): Waiting | undefined {
    return this.#small('replies', decide) ?? this.#small('requests', decide) ?? this.#chunk(decide)
  }

  #small(priority: 'replies' | 'requests', decide: (frame: Frame) => SendDecision): Waiting | undefined {
    for (let first = this.#queues[priority].first; first; first = this.#queues[priority].first) {
      const decision = decide(first.frame)
      if (decision === 'later') return undefined
      this.#queues[priority].shift()
      this.#smallBytes -= sizeOf(first.frame)
      if (decision === 'now') return first
      first.onFlushed?.()
    }
    return undefined
  }

  #chunk(decide: (frame: Frame) => SendDecision): Waiting | undefined {
    for (let first = this.#queues.chunks.first; first; first = this.#queues.chunks.first) {
      const decision = decide(first.frame)
      if (decision === 'later' || this.#handed >= fixed.chunksHanded) return undefined
      this.#queues.chunks.shift()
      if (decision === 'now') return this.#hand(first)
      first.onFlushed?.()
    }
    return undefined
  }

  #hand({ frame, onFlushed }: Waiting): Waiting {
    this.#handed++
    return {
      frame,
      onFlushed: () => {
        this.#handed--
        onFlushed?.()
      },
    }
  }
}

const sizeOf = (frame: Frame) => headerBytes + lengthOf(frame.payload)
