import type { Damage } from '../../ports/mailboxes.ts'

/** The place of a record: its segment, its offset there, and the length of the record itself. */
export interface Place {
  readonly segment: number
  readonly offset: number
  readonly length: number
}

/** A record and its place. */
export interface JournalRecord extends Place {
  readonly record: Buffer
}

/** Some records of a segment, in their order. The following ones begin at `next`, which is absent after the last. */
export interface Piece {
  readonly records: readonly JournalRecord[]
  readonly next: number | undefined
}

/** A part of a journal. Later segments have higher numbers. */
export interface Segment {
  readonly number: number
  readonly bytes: number
}

/**
 * An append-only log of opaque records, in numbered segments. Mailboxes use it instead of a key-value store: a message
 * would be three writes there (its id, its place in a mailbox, its removal), and LevelDB makes 37,000 durable writes a
 * second, where a log that is flushed once for each group makes 108,000.
 */
export interface Journal {
  /** The oldest segment first. The last one grows, until it has reached `segmentBytes` and another one starts. */
  readonly segments: readonly Segment[]
  readonly segmentBytes: number
  /**
   * Appends records durably, in their order and to one segment. Must not be called again before it has settled. A crash
   * can leave any of the records. No record may be empty or begin with a zero. Rejects with `disk-full` if none of them
   * is stored, or with `internal` if they may be stored; until that is resolved, all further calls reject too. With
   * `frees`, the records may use the ballast of a full disk.
   */
  append(records: readonly Buffer[], frees?: boolean): Promise<readonly Place[]>
  /** Returns the records at rising places, `undefined` for one that cannot be read or whose segment was dropped. */
  read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]>
  /** Returns some of the records of a segment, from its start or from the `next` of an earlier piece. */
  load(segment: number, from?: number): Promise<Piece>
  /** Drops the oldest segment durably, but never the last one. */
  drop(): Promise<void>
  /** Returns the bytes that can still be written. */
  free(): Promise<number>
  /** The damage found since the journal was opened. */
  readonly damages: readonly Damage[]
  /** Reports a readable record without valid content as damage. */
  reportDamage(place: Place): void
  close(): Promise<void>
}
