import { fixed } from '../limits.ts'
import { lengthOf } from '../wire/codec.ts'
import { type Frame, headerBytes } from '../wire/frame.ts'

/** `replies`: replies, notifications and repetitions; `requests`: REQs; `chunks`: chunks and what must not pass them. */
export type Lane = 'replies' | 'requests' | 'chunks'

interface Waiting {
  readonly frame: Frame
  readonly left: (() => void) | undefined
}

/**
 * The frames of one link that were not handed to the socket yet. Small frames overtake chunks, and at most two
 * chunks are handed over and unsent (docs/protocol.md, "Delivery", 5).
 */
export class Lanes {
  readonly #lanes: Readonly<Record<Lane, Waiting[]>> = { replies: [], requests: [], chunks: [] }
  #handed = 0
  /** Bytes of the frames that wait in the lanes of small frames. */
  smallBytes = 0

  add(lane: Lane, frame: Frame, left?: () => void): void {
    this.#lanes[lane].push({ frame, left })
    if (lane !== 'chunks') this.smallBytes += headerBytes + lengthOf(frame.payload)
  }

  /**
   * The next frame for the socket, with what to run when its bytes have left. `mayFollow` says whether a REQ may
   * be sent yet; one that may not holds up those behind it in its lane.
   */
  next(mayFollow: (seq: number) => boolean): Waiting | undefined {
    return this.#small('replies') ?? this.#request(mayFollow) ?? this.#chunk(mayFollow)
  }

  #small(lane: 'replies' | 'requests'): Waiting | undefined {
    const waiting = this.#lanes[lane].shift()
    if (waiting) this.smallBytes -= headerBytes + lengthOf(waiting.frame.payload)
    return waiting
  }

  #request(mayFollow: (seq: number) => boolean): Waiting | undefined {
    const first = this.#lanes.requests[0]
    return first && mayFollow(first.frame.seq) ? this.#small('requests') : undefined
  }

  #chunk(mayFollow: (seq: number) => boolean): Waiting | undefined {
    const first = this.#lanes.chunks[0]
    if (!first || this.#handed >= fixed.chunksHanded || !mayFollow(first.frame.seq)) return undefined
    this.#lanes.chunks.shift()
    this.#handed++
    return {
      frame: first.frame,
      left: () => {
        this.#handed--
        first.left?.()
      },
    }
  }
}
