import { fixed } from '../../limits.ts'
import type { Frame } from '../../wire/frame.ts'
import { events } from '../../wire/protocol.ts'

const requests = new Set<number>(
  Object.values(events).flatMap(({ kind, number }) => (kind === 'request' ? [number] : [])),
)

/** Records which REQs have arrived on an unreliable link. The peer has at most 512 in transit, numbered without gaps. */
export class ReceivedSequences {
  /** Every REQ up to this seq has arrived, or cannot arrive any more. */
  complete = 0
  /** Called after each REQ, before the REQ is handled. */
  arrived: () => void = () => {}
  readonly #beyond = new Set<number>()

  /** The number of REQs that arrived before one of a lower seq. */
  get beyond(): number {
    return this.#beyond.size
  }

  /** Records a frame if it is a REQ or the repetition of one. */
  take({ event, seq }: Pick<Frame, 'event' | 'seq'>): void {
    if (!requests.has(event)) return
    if (seq > this.complete) this.#record(seq)
    this.arrived()
  }

  #record(seq: number): void {
    this.#beyond.add(seq)
    if (seq - fixed.replies > this.complete) {
      this.complete = seq - fixed.replies
      for (const other of this.#beyond) if (other <= this.complete) this.#beyond.delete(other)
    }
    while (this.#beyond.delete(this.complete + 1)) this.complete++
  }
}
