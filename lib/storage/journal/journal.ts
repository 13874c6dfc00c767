import type { Damage } from '../../ports/mailboxes.ts'

/** Where a record lies: in which segment, where in it, and how many bytes the record itself has. */
export interface Place {
  readonly segment: number
  readonly offset: number
  readonly length: number
}

/** A record and its place. */
export interface Found extends Place {
  readonly record: Buffer
}

/** Some of a segment's records, in their order; `next` is where the following ones begin, absent after the last. */
export interface Piece {
  readonly records: readonly Found[]
  readonly next: number | undefined
}

/** Part of a journal, in which it grows and is dropped; later ones have higher numbers. */
export interface Segment {
  readonly number: number
  readonly bytes: number
}

/** Where a group of records was put: all in one segment, each at its offset. */
export interface Appended {
  readonly segment: number
  readonly offsets: readonly number[]
}

/**
 * An append-only log of opaque records, in numbered segments. It is what mailboxes are kept in, rather than a key-value
 * store: a message would be three writes there (its id, its place in a mailbox, its removal), and LevelDB makes 37,000
 * durable ones a second where a log that is flushed once for a group makes 108,000.
 */
export interface Journal {
  /** The oldest first. The last one grows; another is begun when it has reached `segmentBytes`. */
  readonly segments: readonly Segment[]
  readonly segmentBytes: number
  /**
   * Appends records, durably and in their order; called again only when it has settled. A crash leaves any of them.
   * None is empty or begins with a zero. Rejects with `disk-full` (not one of them is there) or `internal` (perhaps
   * they are; as long as that is open, every further call rejects too). With `frees` they may use the room reserved for
   * a full disk.
   */
  append(records: readonly Buffer[], frees?: boolean): Promise<Appended>
  /** The records at these places, by rising place; `undefined` for one that can't be read, or whose segment was dropped. */
  read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]>
  /** Some of the records of a segment, from its beginning or from the `next` of an earlier piece on. */
  load(segment: number, from?: number): Promise<Piece>
  /** Drops the oldest segment, never the last one: durable. */
  drop(): Promise<void>
  /** Bytes that can still be written. */
  free(): Promise<number>
  /** What could not be read since it was opened. */
  readonly damages: readonly Damage[]
  /** Counts a readable record without a valid content as damaged. */
  note(place: Place): void
  close(): Promise<void>
}

/** Yields every readable record of a journal, the oldest first. */
export async function* recordsOf(journal: Journal): AsyncGenerator<Found> {
  for (const { number } of journal.segments) {
    let from: number | undefined
    do {
      const { records, next }: Piece = await journal.load(number, from)
      yield* records
      from = next
    } while (from !== undefined)
  }
}
