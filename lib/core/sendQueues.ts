import { fixed } from '../limits.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, headerBytes } from '../wire/frame.ts'
import { Queue } from './queue.ts'

/** `replies`: replies, notifications and repetitions; `requests`: REQs; `chunks`: chunks and what must not pass them. */
export type SendPriority = 'replies' | 'requests' | 'chunks'

/** Whether a frame may be sent: `never` is a REQ that was answered, or given up, before it could leave. */
export type SendDecision = 'now' | 'later' | 'never'

interface Waiting {
  readonly frame: Frame
  readonly left: (() => void) | undefined
}

/**
 * The frames of one link that were not handed to the socket yet. Small frames overtake chunks, and at most two
 * chunks are handed over and unsent (docs/protocol.md, "Delivery", 5).
 */
export class SendQueues {
  readonly #lanes: Readonly<Record<SendPriority, Queue<Waiting>>> = {
    replies: new Queue(),
    requests: new Queue(),
    chunks: new Queue(),
  }
  #handed = 0
  #smallBytes = 0

  /** Bytes of the frames that wait in the lanes of small frames. */
  get smallBytes(): number {
    return this.#smallBytes
  }

  /** Frames that wait in the lane of replies. */
  get replies(): number {
    return this.#lanes.replies.length
  }

  add(lane: SendPriority, frame: Frame, left?: () => void): void {
    this.#lanes[lane].push({ frame, left })
    if (lane !== 'chunks') this.#smallBytes += sizeOf(frame)
  }

  /**
   * The next frame for the socket, with what to run when its bytes have left. A frame whose turn is later holds up
   * those behind it in its lane, and no other lane.
   */
  next(turn: (frame: Frame) => SendDecision): Waiting | undefined {
    return this.#small('replies', turn) ?? this.#small('requests', turn) ?? this.#chunk(turn)
  }

  #small(lane: 'replies' | 'requests', turn: (frame: Frame) => SendDecision): Waiting | undefined {
    for (let first = this.#lanes[lane].first; first; first = this.#lanes[lane].first) {
      const when = turn(first.frame)
      if (when === 'later') return undefined
      this.#lanes[lane].shift()
      this.#smallBytes -= sizeOf(first.frame)
      if (when === 'now') return first
      first.left?.()
    }
    return undefined
  }

  #chunk(turn: (frame: Frame) => SendDecision): Waiting | undefined {
    for (let first = this.#lanes.chunks.first; first; first = this.#lanes.chunks.first) {
      const when = turn(first.frame)
      if (when === 'later' || this.#handed >= fixed.chunksHanded) return undefined
      this.#lanes.chunks.shift()
      if (when === 'now') return this.#hand(first)
      first.left?.()
    }
    return undefined
  }

  #hand({ frame, left }: Waiting): Waiting {
    this.#handed++
    return {
      frame,
      left: () => {
        this.#handed--
        left?.()
      },
    }
  }
}

const sizeOf = (frame: Frame) => headerBytes + lengthOf(frame.payload)
