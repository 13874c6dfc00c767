import { OspError } from '../../errors.ts'
import type { Journal, JournalRecord, Place } from './journal.ts'

/** The number of segments that a journal may have beyond twice the size of its live records. */
const slackSegments = 4
/** The bytes that may be moved for each appended byte. */
const movedPerAppended = 4

/** Records to append again, since they are still current. */
export interface Moved {
  readonly records: readonly Buffer[]
  /** Called when the records are durable, with the new place of each. */
  moved(places: readonly Place[]): void
}

/** The contents of a journal that are kept in memory. */
export interface Contents {
  /** The minimum size in bytes of a journal of the current records only. */
  readonly liveBytes: number
  /** Applies a record of the journal, which is read from its oldest record on. */
  enter(record: JournalRecord): void
  /**
   * Returns the current records among these of the oldest segment, `segment`. `isLast` means that no other records of
   * that segment follow: when the returned records are durable, the segment is dropped. The contents must include
   * everything in the journal, and in the group before the returned records.
   */
  move(segment: number, records: readonly JournalRecord[], isLast: boolean): Moved
}

/** Records that are appended after the records of a group. They hold the current state after that group. */
export interface Piggyback extends Moved {
  failed(error: unknown): void
}

interface Chunk {
  readonly segment: number
  readonly records: readonly JournalRecord[]
  readonly isLast: boolean
  readonly moved: () => void
  readonly failed: (error: unknown) => void
}

/**
 * Keeps the journal short. Appends the live records of the oldest segment again, then drops that segment. The oldest
 * segment goes first, so the record of a removal is never dropped before the record that it removes.
 */
export class Compaction {
  readonly #journal: Journal
  readonly #contents: Contents
  readonly #wake: () => void
  /** Bytes that may be moved before more is appended. Unlimited, copies of copies could keep the journal busy. */
  #allowance = Number.POSITIVE_INFINITY
  #chunk: Chunk | undefined
  #work: Promise<void> | undefined
  #stopped = false

  /** `wake` starts a commit, even if it consists of moved records only. */
  constructor(journal: Journal, contents: Contents, wake: () => void) {
    this.#journal = journal
    this.#contents = contents
    this.#wake = wake
  }

  /** Called after `appendedBytes` were appended. Starts a compaction if it is due. */
  consider(appendedBytes: number): void {
    this.#allowance = Math.min(this.#allowance + appendedBytes * movedPerAppended, totalBytes(this.#journal))
    if (!this.#work && this.#isDue()) this.#work = this.#run()
  }

  /** Returns the next records to move, after a group whose changes the contents already include. */
  piggyback(): Piggyback | undefined {
    const chunk = this.#chunk
    if (!chunk) return undefined
    this.#chunk = undefined
    const { records, moved } = this.#contents.move(chunk.segment, chunk.records, chunk.isLast)
    for (const { length } of records) this.#allowance -= length
    return {
      records,
      moved(places) {
        moved(places)
        chunk.moved()
      },
      failed: chunk.failed,
    }
  }

  /** Stops moving records. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#chunk?.failed(closed())
    this.#chunk = undefined
    await this.#work
  }

  #isDue(): boolean {
    const { segments, segmentBytes } = this.#journal
    if (this.#stopped || segments.length < 2 || this.#allowance <= 0) return false
    return totalBytes(this.#journal) > 2 * this.#contents.liveBytes + slackSegments * segmentBytes
  }

  async #run(): Promise<void> {
    try {
      while (this.#isDue()) await this.#dropOldest()
    } catch {
      // Retried after the next successful group. A fault of the journal fails that group too.
    }
    this.#work = undefined
  }

  async #dropOldest(): Promise<void> {
    const [oldest] = this.#journal.segments
    if (!oldest) return
    let from: number | undefined
    do {
      const { records, next } = await this.#journal.load(oldest.number, from)
      await this.#move(oldest.number, records, next === undefined)
      from = next
    } while (from !== undefined)
    await this.#journal.drop()
  }

  #move(segment: number, records: readonly JournalRecord[], isLast: boolean): Promise<void> {
    return new Promise((moved, failed) => {
      if (this.#stopped) return failed(closed())
      this.#chunk = { segment, records, isLast, moved, failed }
      this.#wake()
    })
  }
}

const closed = () => new OspError('closed', 'the storage was closed')

const totalBytes = ({ segments }: Journal) => segments.reduce((sum, { bytes }) => sum + bytes, 0)
