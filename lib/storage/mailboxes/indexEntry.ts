import type { Place } from '../journal/journal.ts'

/** What is known of a message that waits in one or more mailboxes; its content is in the journal. */
export class IndexEntry implements Place {
  readonly seq: number
  readonly sender: string
  /** ms of the age clock. */
  readonly storedAt: number
  /** Of the content. */
  readonly bytes: number
  /** Of its record. */
  length: number
  /** -1 until it is durable. */
  segment = -1
  offset = 0
  /** In how many mailboxes it is. */
  waiting = 0
  /** Its record, while that is kept at hand. */
  record: Buffer | undefined = undefined

  constructor(seq: number, sender: string, storedAt: number, bytes: number, length: number) {
    this.seq = seq
    this.sender = sender
    this.storedAt = storedAt
    this.bytes = bytes
    this.length = length
  }

  get isDurable(): boolean {
    return this.segment >= 0
  }

  /** Whether it lies there. */
  isAt(place: Place): boolean {
    return this.segment === place.segment && this.offset === place.offset
  }
}
