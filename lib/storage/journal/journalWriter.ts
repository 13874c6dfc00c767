import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { GroupCommit, type Uncommitted } from '../../runtime/groupCommit.ts'
import { lengthOf } from '../../wire/codec.ts'
import type { Journal, JournalRecord, Place } from './journal.ts'

/** A change that has already been made in memory, and becomes durable with its records. */
export interface PendingChange {
  /** Its records; none if only the earlier changes must be durable. */
  readonly records: readonly Buffer[]
  /** Bytes of the disk that must stay free after the append; absent if the record may use them. */
  readonly reserveBytes?: number
  /** Additional bytes that must stay free for other senders. */
  readonly shareBytes?: number
  /** The append frees space: on a full disk it may use the ballast. */
  readonly frees?: boolean
  /** The records may wait up to `mostWaitMs` for others, so that one append and one flush serve all of them. */
  readonly mayWait?: boolean | undefined
  /** Called when the records are durable, with the place of each. */
  durable?(places: readonly Place[]): void
  /** Undoes the change in memory, after the append of it or of an earlier change has failed. */
  undo(): void
}

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

/** Records of the oldest segment that the next group moves. */
interface Chunk {
  readonly segment: number
  readonly records: readonly JournalRecord[]
  readonly isLast: boolean
  readonly done: Deferred<void>
}

/** Records that are appended after those of a group. They hold the current state after that group. */
type Piggyback = Moved & Pick<Chunk, 'done'>

/** How long, and for how many written bytes, the last reading of the free space is valid. */
const freshMs = 100
const freshBytes = 4 * MiB

/** The maximum time for which records with `mayWait` wait. */
export const mostWaitMs = 20

/** The number of segments that a journal may have beyond twice the size of its live records. */
const slackSegments = 4
/** The bytes that may be moved for each appended byte. */
const movedPerAppended = 4

/**
 * Appends records to a journal by group commit, keeps a reserve of free space, and keeps the journal short: appends the
 * live records of the oldest segment again, then drops that segment. The oldest segment goes first, so the record of a
 * removal is never dropped before the record that it removes.
 */
export class JournalWriter {
  readonly #journal: Journal
  readonly #clock: Clock
  readonly #contents: Contents
  readonly #commits = new GroupCommit<PendingChange>({
    commit: (group) => this.#commit(group),
    // Later changes were made on the assumption that the earlier ones hold.
    undo: (change) => change.undo(),
  })
  /** The error of an append whose records may exist nevertheless. Until an append succeeds, a refusal must give this error. */
  uncertainty: OspError | undefined
  #freeBytes = 0
  #measuredAt = Number.NEGATIVE_INFINITY
  #writtenBytes = 0
  /** Bytes that may be moved before more is appended. Unlimited, copies of copies could keep the journal busy. */
  #allowance = Number.POSITIVE_INFINITY
  #chunk: Chunk | undefined
  #compacting: Promise<void> | undefined
  #isClosing = false
  /** The number of damages that `damages` has returned. */
  #seenDamages = 0
  /** Rings when a record with `mayWait` has waited for `mostWaitMs`. */
  readonly #waited: Alarm

  constructor(journal: Journal, clock: Clock, contents: Contents) {
    this.#journal = journal
    this.#clock = clock
    this.#waited = new Alarm(clock, () => this.#commits.wake())
    this.#contents = contents
  }

  /** Enters all readable records into the contents, the oldest first. Closes the journal if that fails. */
  async open(): Promise<void> {
    try {
      for (const { number } of this.#journal.segments) {
        let from: number | undefined
        do {
          const { records, next } = await this.#journal.load(number, from)
          for (const record of records) this.#contents.enter(record)
          from = next
        } while (from !== undefined)
      }
    } catch (error) {
      await this.#journal.close()
      throw error
    }
    this.#compact(0)
  }

  /** Resolves when the change, and all earlier changes, are durable. */
  add(change: PendingChange): Promise<void> {
    const { mayWait } = change
    if (mayWait) this.#waited.by(this.#clock.now() + mostWaitMs)
    return this.#commits.add(change, mayWait)
  }

  /** Closes the journal when the earlier changes are durable or have failed. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#waited.stop()
    this.#commits.wake()
    this.#chunk?.done.reject(new OspError('closed'))
    this.#chunk = undefined
    await this.#compacting
    await this.#commits.idle()
    await this.#journal.close()
  }

  async #commit(group: readonly Uncommitted<PendingChange>[]): Promise<void> {
    // Before anything is awaited: the contents in memory are now those after this group.
    const piggyback = this.#piggyback()
    if (group.length === 0 && !piggyback) return
    try {
      if (this.#mustMeasure(group)) await this.#measure()
    } catch (error) {
      piggyback?.done.reject(error)
      throw error
    }
    await this.#append(this.#admitted(group), piggyback)
  }

  /** Returns whether a group needs to know the free space of the disk and the last measurement is too old. */
  #mustMeasure(group: readonly Uncommitted<PendingChange>[]): boolean {
    const isFresh = this.#writtenBytes < freshBytes && this.#clock.now() - this.#measuredAt <= freshMs
    return !isFresh && group.some(({ item }) => item.reserveBytes !== undefined)
  }

  /** Measures the free space of the disk. */
  async #measure(): Promise<void> {
    this.#freeBytes = await this.#journal.free()
    this.#measuredAt = this.#clock.now()
    this.#writtenBytes = 0
  }

  /** Returns the changes of a group for which the disk has space, and refuses the others. */
  #admitted(group: readonly Uncommitted<PendingChange>[]): PendingChange[] {
    return group.flatMap((change) => {
      const refusal = this.uncertainty ? undefined : this.#refusalOf(change.item)
      if (!refusal) return change.item
      change.item.undo()
      change.reject(refusal)
      return []
    })
  }

  /** Returns why there is no space for a change; otherwise counts its bytes as written. */
  #refusalOf({ records, reserveBytes, shareBytes = 0 }: PendingChange): OspError | undefined {
    const bytes = lengthOf(records)
    if (bytes === 0) return undefined
    const leftBytes = this.#freeBytes - bytes
    if (reserveBytes !== undefined && leftBytes < reserveBytes + shareBytes) {
      // The next group measures again.
      this.#measuredAt = Number.NEGATIVE_INFINITY
      if (leftBytes < reserveBytes) return new OspError('disk-full', "the server's disk is full")
      return new OspError('disk-full', shareText, { publicText: shareText })
    }
    this.#freeBytes = leftBytes
    this.#writtenBytes += bytes
    return undefined
  }

  async #append(changes: readonly PendingChange[], piggyback: Piggyback | undefined): Promise<void> {
    const own = changes.flatMap(({ records }) => records)
    const records = piggyback ? [...own, ...piggyback.records] : own
    let places: readonly Place[] = []
    try {
      if (records.length > 0) {
        const frees = changes.some((change) => change.frees)
        places = await this.#journal.append(records, frees)
      }
    } catch (error) {
      piggyback?.done.reject(error)
      // The group may fit without the piggyback.
      if (piggyback && own.length > 0 && isFull(error)) return this.#append(changes, undefined)
      if (!isFull(error)) this.uncertainty = OspError.from(withoutPublicText(error))
      throw withoutPublicText(error)
    }
    if (records.length > 0) this.uncertainty = undefined
    let at = 0
    for (const change of changes) {
      const { length } = change.records
      change.durable?.(places.slice(at, at + length))
      at += length
    }
    piggyback?.moved(places.slice(own.length))
    piggyback?.done.resolve()
    this.#compact(lengthOf(own))
  }

  #piggyback(): Piggyback | undefined {
    const chunk = this.#chunk
    if (!chunk) return undefined
    this.#chunk = undefined
    const moved = this.#contents.move(chunk.segment, chunk.records, chunk.isLast)
    for (const { length } of moved.records) this.#allowance -= length
    return { ...moved, done: chunk.done }
  }

  /** Starts a compaction if it is due after `appendedBytes` were appended. */
  #compact(appendedBytes: number): void {
    this.#allowance = Math.min(this.#allowance + appendedBytes * movedPerAppended, totalBytes(this.#journal))
    if (!this.#compacting && this.#isTooLong()) this.#compacting = this.#shorten()
  }

  /**
   * Returns the damage found while and since the journal was opened. A segment is dropped only after this has returned its damage:
   * after a crash nothing else would show that a record is missing.
   */
  damages(): readonly Damage[] {
    const { damages } = this.#journal
    this.#seenDamages = damages.length
    return [...damages]
  }

  get #hasUnseenDamage(): boolean {
    return this.#journal.damages.length > this.#seenDamages
  }

  #isTooLong(): boolean {
    const { segments, segmentBytes } = this.#journal
    if (this.#isClosing || this.#hasUnseenDamage || segments.length < 2 || this.#allowance <= 0) return false
    return totalBytes(this.#journal) > 2 * this.#contents.liveBytes + slackSegments * segmentBytes
  }

  async #shorten(): Promise<void> {
    try {
      while (this.#isTooLong()) await this.#dropOldest()
    } catch {
      // Retried after the next successful group. A fault of the journal fails that group too.
    }
    this.#compacting = undefined
  }

  async #dropOldest(): Promise<void> {
    const [oldest] = this.#journal.segments
    if (!oldest) return
    let from: number | undefined
    do {
      const { records, next } = await this.#journal.load(oldest.number, from)
      if (this.#isClosing) return
      const done = deferred<void>()
      this.#chunk = { segment: oldest.number, records, isLast: next === undefined, done }
      this.#commits.wake()
      await done.promise
      from = next
    } while (from !== undefined)
    if (!this.#hasUnseenDamage) await this.#journal.drop()
  }
}

const totalBytes = ({ segments }: Journal) => segments.reduce((sum, { bytes }) => sum + bytes, 0)

const shareText =
  'the waiting messages of one sender must leave space on the disk of the server for other senders; try again later'

const isFull = (error: unknown) =>
  error instanceof OspError && (error.code === 'disk-full' || error.code === 'quota-exceeded')

/** On a full disk nothing was stored for certain. After any other error of the system the result is unknown, hence `internal`. */
function withoutPublicText(error: unknown): unknown {
  if (!(error instanceof OspError) || error.publicText === undefined || isFull(error)) return error
  return new OspError('internal', error.message, { cause: error })
}
