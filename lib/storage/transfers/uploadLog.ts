import { Multiset } from '../../core/multiset.ts'
import type { Platform } from '../../ports/platform.ts'
import type { TransferRecord, UnfinishedTotals } from '../../ports/storage.ts'
import { Compaction, type Contents, type Moved } from '../journal/compaction.ts'
import { type Found, type Journal, type Place, recordsOf } from '../journal/journal.ts'
import { JournalWriter } from '../journal/journalWriter.ts'
import { recordKey } from './recordStore.ts'
import { type CompletionMarker, type Row, readRow, type Subject, subjectOfRow, writeRow } from './rows.ts'

/** The present value of a subject, and its place in the journal. */
class Entry<T> implements Place {
  value: T
  /** -1 until the entry is durable; `length` is 0 until then. */
  segment = -1
  offset = 0
  length = 0
  isCurrent = false

  constructor(value: T) {
    this.value = value
  }

  isAt({ segment, offset }: Place): boolean {
    return this.segment === segment && this.offset === offset
  }
}

/** The present entries by `recordKey`, in the order in which they were set. */
class Table<T> {
  /** Total bytes of the rows of present entries. */
  bytes = 0
  readonly #entries = new Map<string, Entry<T>>()

  get size(): number {
    return this.#entries.size
  }

  get({ user, name }: Subject): Entry<T> | undefined {
    return this.#entries.get(recordKey(user, name))
  }

  values(): Iterable<Entry<T>> {
    return this.#entries.values()
  }

  /** Replaces the previous entry, or removes it. Returns the previous entry. */
  swap({ user, name }: Subject, next: Entry<T> | undefined): Entry<T> | undefined {
    const key = recordKey(user, name)
    const former = this.#entries.get(key)
    if (former) {
      this.bytes -= former.length
      former.isCurrent = false
      this.#entries.delete(key)
    }
    if (next) {
      this.bytes += next.length
      next.isCurrent = true
      this.#entries.set(key, next)
    }
    return former
  }

  /** Returns the present entries among these rows, and with `segment` all entries in that segment. */
  live(rows: readonly { readonly place: Place; readonly subject: Subject }[], segment?: number): readonly Entry<T>[] {
    const live = new Set<Entry<T>>()
    for (const { place, subject } of rows) {
      const entry = this.get(subject)
      if (entry?.isAt(place)) live.add(entry)
    }
    if (segment !== undefined) for (const entry of this.values()) if (entry.segment === segment) live.add(entry)
    return [...live]
  }

  /** Sets the place at which an entry is durable. */
  locate(entry: Entry<T>, { segment, offset, length }: Place): void {
    if (entry.isCurrent) this.bytes += length - entry.length
    entry.segment = segment
    entry.offset = offset
    entry.length = length
  }
}

/** The records of one user. */
interface UserRecords {
  readonly names: Set<string>
  /** Sum of the offsets of their last checkpoints. */
  bytes: number
}

const durableOf = (entry: Entry<TransferRecord> | undefined) => entry?.value.checkpoints.at(-1)?.offset ?? 0

/**
 * The records of unfinished uploads and the completion markers: all in memory, with each change in a journal. A change
 * is visible at once, and the call resolves when it is durable. If the append fails, the change is undone. Changes of
 * one subject must be made one after another.
 */
export class UploadLog implements Contents {
  readonly #journal: Journal
  readonly #writer: JournalWriter
  readonly #compaction: Compaction
  readonly #records = new Table<TransferRecord>()
  readonly #markers = new Table<CompletionMarker>()
  readonly #users = new Map<string, UserRecords>()
  readonly #maxMarkers: number
  /** The names of the completion markers of each user, the oldest first. */
  readonly #noteNames = new Map<string, Set<string>>()
  readonly #noteCounts = new Multiset()

  private constructor(journal: Journal, platform: Platform, maxMarkers: number) {
    this.#journal = journal
    this.#maxMarkers = maxMarkers
    this.#compaction = new Compaction(journal, this, () => this.#writer.wake())
    this.#writer = new JournalWriter(journal, () => platform.clock.now(), {
      piggyback: () => this.#compaction.piggyback(),
      committed: (bytes) => this.#compaction.consider(bytes),
    })
  }

  /** Reads the journal. The log closes the journal, even if this rejects. */
  static async open(journal: Journal, platform: Platform, maxMarkers: number): Promise<UploadLog> {
    const log = new UploadLog(journal, platform, maxMarkers)
    try {
      for await (const found of recordsOf(journal)) log.enter(found)
    } catch (error) {
      await journal.close()
      throw error
    }
    log.#compaction.consider(0)
    return log
  }

  /** Resolves when earlier calls have ended. */
  async close(): Promise<void> {
    await this.#compaction.stop()
    await this.#writer.idle()
    await this.#journal.close()
  }

  get damages(): Journal['damages'] {
    return this.#journal.damages
  }

  get liveBytes(): number {
    return this.#records.bytes + this.#markers.bytes
  }

  /** Returns the number of records, in all or of one user. */
  count(user?: string): number {
    return user === undefined ? this.#records.size : (this.#users.get(user)?.names.size ?? 0)
  }

  record(user: string, name: string): TransferRecord | undefined {
    return this.#records.get({ user, name })?.value
  }

  /** Returns the names of the records of a user. */
  names(user: string): Iterable<string> {
    return this.#users.get(user)?.names ?? []
  }

  /** Returns the number of a user's records, and the sum of the offsets of their last checkpoints. */
  totals(user: string): UnfinishedTotals {
    return { uploads: this.count(user), bytes: this.#users.get(user)?.bytes ?? 0 }
  }

  /** Returns all present records, or those of one user. */
  records(user?: string): readonly TransferRecord[] {
    if (user === undefined) return Array.from(this.#records.values(), ({ value }) => value)
    return Array.from(this.names(user)).flatMap((name) => this.record(user, name) ?? [])
  }

  marker(user: string, name: string): CompletionMarker | undefined {
    return this.#markers.get({ user, name })?.value
  }

  /** Returns the completion markers that were not reported. */
  unreported(): readonly CompletionMarker[] {
    return Array.from(this.#markers.values(), ({ value }) => value).filter(({ reported }) => !reported)
  }

  /** Replaces a record, durably. */
  put(record: TransferRecord): Promise<void> {
    const entry = new Entry(record)
    const former = this.#swapRecord(record, entry)
    return this.#add({ kind: 'record', value: record }, this.#records, entry, () => this.#swapRecord(record, former))
  }

  /** Removes a record, durably. */
  remove(user: string, name: string): Promise<void> {
    const subject = { user, name }
    const former = this.#swapRecord(subject, undefined)
    return this.#add({ kind: 'removed', value: subject }, this.#records, undefined, () =>
      this.#swapRecord(subject, former),
    )
  }

  /**
   * Replaces a record, and a previous completion marker, with a marker, durably. Removes the markers that expired
   * before `now`.
   */
  complete(marker: CompletionMarker, now: number): Promise<void> {
    this.#forgetOld(now)
    const { file } = marker
    const entry = new Entry(marker)
    const formerRecord = this.#swapRecord(file, undefined)
    const formerMarker = this.#swapMarker(file, entry)
    this.#bound()
    return this.#add({ kind: 'completed', value: marker }, this.#markers, entry, () => {
      this.#swapMarker(file, formerMarker)
      this.#swapRecord(file, formerRecord)
    })
  }

  /** Replaces a completion marker, durably. */
  rewrite(marker: CompletionMarker): Promise<void> {
    const entry = new Entry(marker)
    const former = this.#swapMarker(marker.file, entry)
    return this.#add({ kind: 'note', value: marker }, this.#markers, entry, () => this.#swapMarker(marker.file, former))
  }

  /** Removes a completion marker, durably. */
  forget(user: string, name: string): Promise<void> {
    const subject = { user, name }
    const former = this.#swapMarker(subject, undefined)
    return this.#add({ kind: 'forgotten', value: subject }, this.#markers, undefined, () =>
      this.#swapMarker(subject, former),
    )
  }

  /** Marks a completion marker as reported, durably. */
  report(user: string, name: string): Promise<void> {
    const subject = { user, name }
    const entry = this.#markers.get(subject)
    if (!entry) return Promise.resolve()
    const former = entry.value
    entry.value = { ...former, reported: true }
    return this.#add({ kind: 'reported', value: subject }, this.#markers, undefined, () => {
      entry.value = former
    })
  }

  /** Applies a row of the journal. */
  enter(found: Found): void {
    const row = readRow(found.record)
    if (!row) this.#journal.reportDamage(found)
    else if (row.kind === 'record') this.#enterRecord(row.value, found)
    else if (row.kind === 'completed' || row.kind === 'note') this.#enterMarker(row.kind, row.value, found)
    else this.#enterEnd(row.kind, row.value)
  }

  move(segment: number, records: readonly Found[], isLast: boolean): Moved {
    const rows = records.flatMap((place) => {
      const row = readRow(place.record)
      return row ? [{ place, subject: subjectOfRow(row) }] : []
    })
    // Entries that cannot be read from the disk are still in memory.
    const whole = isLast ? segment : undefined
    const liveRecords = this.#records.live(rows, whole)
    const liveMarkers = this.#markers.live(rows, whole)
    return {
      records: [
        ...liveRecords.map(({ value }) => writeRow({ kind: 'record', value })),
        ...liveMarkers.map(({ value }) => writeRow({ kind: 'note', value })),
      ],
      moved: (placeOf) => {
        for (const [index, entry] of liveRecords.entries()) this.#records.locate(entry, placeOf(index))
        for (const [index, entry] of liveMarkers.entries()) {
          this.#markers.locate(entry, placeOf(liveRecords.length + index))
        }
      },
    }
  }

  removeSegment(): void {}

  #enterRecord(value: TransferRecord, found: Found): void {
    const entry = new Entry(value)
    this.#records.locate(entry, found)
    this.#swapRecord(value, entry)
  }

  #enterMarker(kind: 'completed' | 'note', value: CompletionMarker, found: Found): void {
    const entry = new Entry(value)
    this.#markers.locate(entry, found)
    this.#swapMarker(value.file, entry)
    this.#bound()
    if (kind === 'completed') this.#swapRecord(value.file, undefined)
  }

  #enterEnd(kind: 'removed' | 'reported' | 'forgotten', subject: Subject): void {
    const entry = this.#markers.get(subject)
    if (kind === 'removed') this.#swapRecord(subject, undefined)
    else if (kind === 'forgotten') this.#swapMarker(subject, undefined)
    else if (entry) entry.value = { ...entry.value, reported: true }
  }

  #swapRecord(subject: Subject, next: Entry<TransferRecord> | undefined): Entry<TransferRecord> | undefined {
    const { user, name } = subject
    const former = this.#records.swap(subject, next)
    const own = this.#users.get(user) ?? { names: new Set<string>(), bytes: 0 }
    own.bytes += durableOf(next) - durableOf(former)
    if (next) this.#users.set(user, own)
    if (next) own.names.add(name)
    else if (own.names.delete(name) && own.names.size === 0) this.#users.delete(user)
    return former
  }

  #swapMarker(subject: Subject, next: Entry<CompletionMarker> | undefined): Entry<CompletionMarker> | undefined {
    const { user, name } = subject
    const former = this.#markers.swap(subject, next)
    const names = this.#noteNames.get(user) ?? new Set<string>()
    if (names.delete(name)) this.#noteCounts.remove(user)
    if (next) {
      this.#noteNames.set(user, names.add(name))
      this.#noteCounts.add(user)
    } else if (names.size === 0) this.#noteNames.delete(user)
    return former
  }

  #add<T>(row: Row, table: Table<T>, entry: Entry<T> | undefined, undo: () => unknown): Promise<void> {
    const record = writeRow(row)
    return this.#writer.add({
      record,
      frees: row.kind === 'removed',
      durable: (segment, offset) => {
        if (entry) table.locate(entry, { segment, offset, length: record.length })
      },
      undo: () => void undo(),
    })
  }

  #forgetOld(now: number): void {
    for (const { value } of this.#markers.values()) {
      if (value.until >= now) break
      this.#swapMarker(value.file, undefined)
    }
  }

  /**
   * Removes completion markers beyond the limit: the oldest of the user with the most, so that no user displaces those
   * of others.
   */
  #bound(): void {
    while (this.#markers.size > this.#maxMarkers) {
      const user = this.#noteCounts.largest ?? ''
      const [name = ''] = this.#noteNames.get(user) ?? []
      this.#swapMarker({ user, name }, undefined)
    }
  }
}
