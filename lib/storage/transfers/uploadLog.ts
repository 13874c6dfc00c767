import type { Platform } from '../../ports/platform.ts'
import type { TransferRecord, UnfinishedTotals } from '../../ports/storage.ts'
import type { Journal, JournalRecord, Place } from '../journal/journal.ts'
import { type Contents, JournalWriter, type Moved, type PendingChange } from '../journal/journalWriter.ts'
import { type CompletionMarker, type Row, readRow, type Subject, writeRow } from './rows.ts'

/** The value of a subject, and its place in the journal: segment -1 and no bytes until it is durable. */
interface Entry<T> {
  value: T
  place: Place
  isCurrent: boolean
}

const nowhere: Place = { segment: -1, offset: 0, length: 0 }

/** A change in memory, whose row is appended to the journal. */
interface Change extends Pick<PendingChange, 'undo'> {
  /** Called with the place of the row. */
  durable(place: Place): void
}

/** The present entries of one user. */
interface UserEntries<T> {
  readonly byName: Map<string, Entry<T>>
  /** Sum of their weights. */
  weight: number
}

/** Replaces an entry of a table. */
class ReplaceEntry<T> implements Change {
  readonly #table: Table<T>
  readonly #subject: Subject
  readonly #entry: Entry<T> | undefined
  readonly #former: Entry<T> | undefined

  constructor(table: Table<T>, subject: Subject, entry: Entry<T> | undefined, former: Entry<T> | undefined) {
    this.#table = table
    this.#subject = subject
    this.#entry = entry
    this.#former = former
  }

  durable(place: Place): void {
    if (this.#entry) this.#table.locate(this.#entry, place)
  }

  undo(): void {
    this.#table.restore(this.#subject, this.#former)
  }
}

/** The present entries, all and those of each user, both in the order in which they were set. */
class Table<T> {
  /** Total bytes of the rows of present entries. */
  bytes = 0
  /** The number of present entries of each segment. */
  readonly #counts = new Map<number, number>()
  readonly #entries = new Set<Entry<T>>()
  readonly #users = new Map<string, UserEntries<T>>()
  readonly #weightOf: (value: T) => number

  constructor(weightOf: (value: T) => number = () => 0) {
    this.#weightOf = weightOf
  }

  get size(): number {
    return this.#entries.size
  }

  get({ user, name }: Subject): Entry<T> | undefined {
    return this.#users.get(user)?.byName.get(name)
  }

  entries(): Iterable<Entry<T>> {
    return this.#entries
  }

  values(): T[] {
    return Array.from(this.#entries, ({ value }) => value)
  }

  ofUser(user: string): Readonly<UserEntries<T>> | undefined {
    return this.#users.get(user)
  }

  /** Replaces the value of a subject, or removes it. */
  set(subject: Subject, value: T | undefined): Change {
    const entry = value === undefined ? undefined : { value, place: nowhere, isCurrent: false }
    const former = this.#swap(subject, entry)
    return new ReplaceEntry(this, subject, entry, former)
  }

  /** Sets the previous entry of a subject again. */
  restore(subject: Subject, former: Entry<T> | undefined): void {
    this.#swap(subject, former)
  }

  /** Returns the present entries of a segment up to an offset. */
  live(segment: number, last: number): readonly Entry<T>[] {
    const live: Entry<T>[] = []
    // Looking at all entries takes milliseconds, and most of the oldest segments have none.
    if (!this.#counts.has(segment)) return live
    for (const entry of this.entries())
      if (entry.place.segment === segment && entry.place.offset <= last) live.push(entry)
    return live
  }

  /** Sets the place at which an entry is durable. */
  locate(entry: Entry<T>, place: Place): void {
    if (entry.isCurrent) {
      this.#countPlace(entry.place, -1)
      this.#countPlace(place, 1)
    }
    entry.place = place
  }

  #countPlace({ segment, length }: Place, change: 1 | -1): void {
    this.bytes += change * length
    const count = (this.#counts.get(segment) ?? 0) + change
    if (count > 0) this.#counts.set(segment, count)
    else this.#counts.delete(segment)
  }

  /** Replaces the previous entry, or removes it. Returns the previous entry. */
  #swap({ user, name }: Subject, next: Entry<T> | undefined): Entry<T> | undefined {
    const own = this.#users.get(user) ?? { byName: new Map<string, Entry<T>>(), weight: 0 }
    const former = own.byName.get(name)
    if (former) {
      this.#countPlace(former.place, -1)
      former.isCurrent = false
      own.weight -= this.#weightOf(former.value)
      own.byName.delete(name)
      this.#entries.delete(former)
    }
    if (next) {
      this.#countPlace(next.place, 1)
      next.isCurrent = true
      own.weight += this.#weightOf(next.value)
      own.byName.set(name, next)
      this.#users.set(user, own)
      this.#entries.add(next)
    } else if (own.byName.size === 0) this.#users.delete(user)
    return former
  }
}

const receivedOf = ({ checkpoints, verified }: TransferRecord): number =>
  verified?.size ?? checkpoints.at(-1)?.offset ?? 0

/**
 * The records of unfinished uploads and the completion markers: all in memory, with each change in a journal. A change
 * is visible at once, and the call resolves when it is durable. If the append fails, the change is undone. Changes of
 * one subject must be made one after another.
 */
export class UploadLog implements Contents {
  readonly #journal: Journal
  readonly #writer: JournalWriter
  readonly #records = new Table<TransferRecord>(receivedOf)
  readonly #markers = new Table<CompletionMarker>()
  readonly #maxMarkers: number
  /** The wall time of the last search for surplus completion markers. */
  #searchedAt = Number.NEGATIVE_INFINITY

  private constructor(journal: Journal, platform: Platform, maxMarkers: number) {
    this.#journal = journal
    this.#maxMarkers = maxMarkers
    this.#writer = new JournalWriter(journal, platform.clock, this)
  }

  /** Reads the journal. The log closes the journal, even if this rejects. */
  static async open(journal: Journal, platform: Platform, maxMarkers: number): Promise<UploadLog> {
    const log = new UploadLog(journal, platform, maxMarkers)
    await log.#writer.open()
    return log
  }

  /** Resolves when earlier calls have ended. */
  close(): Promise<void> {
    return this.#writer.close()
  }

  damages(): Journal['damages'] {
    return this.#writer.damages()
  }

  get liveBytes(): number {
    return this.#records.bytes + this.#markers.bytes
  }

  get count(): number {
    return this.#records.size
  }

  record(user: string, name: string): TransferRecord | undefined {
    return this.#records.get({ user, name })?.value
  }

  /** Whether there are twice as many completion markers as allowed: some must be dropped before others are added. */
  get isCrowded(): boolean {
    return this.#markers.size >= 2 * this.#maxMarkers
  }

  /** Whether there is a record or a completion marker of this name. */
  has(user: string, name: string): boolean {
    const subject = { user, name }
    return this.#markers.get(subject) !== undefined || this.#records.get(subject) !== undefined
  }

  hasRecords(user: string): boolean {
    return this.#records.ofUser(user) !== undefined
  }

  names(user: string): Iterable<string> {
    return this.#records.ofUser(user)?.byName.keys() ?? []
  }

  /** Returns the number of a user's records, and the sum of the offsets of their last checkpoints, except for these names. */
  totals(user: string, except: readonly string[] = []): UnfinishedTotals {
    const own = this.#records.ofUser(user)
    let { uploads, bytes } = { uploads: own?.byName.size ?? 0, bytes: own?.weight ?? 0 }
    for (const name of new Set(except)) {
      const record = this.record(user, name)
      if (!record) continue
      uploads--
      bytes -= receivedOf(record)
    }
    return { uploads, bytes }
  }

  /** Returns all present records, or those of one user. */
  records(user?: string): readonly TransferRecord[] {
    if (user === undefined) return this.#records.values()
    return Array.from(this.names(user)).flatMap((name) => this.record(user, name) ?? [])
  }

  marker(user: string, name: string): CompletionMarker | undefined {
    return this.#markers.get({ user, name })?.value
  }

  /** Returns all completion markers, including expired ones. */
  markers(): readonly CompletionMarker[] {
    return this.#markers.values()
  }

  /** Returns the completion markers that were not reported. */
  unreported(): readonly CompletionMarker[] {
    return this.#markers.values().filter(({ reported }) => !reported)
  }

  put(record: TransferRecord): Promise<void> {
    return this.#append([{ kind: 'record', value: record }], [this.#records.set(record, record)])
  }

  remove(user: string, name: string): Promise<void> {
    const value = { user, name }
    return this.#append([{ kind: 'removed', value }], [this.#records.set(value, undefined)])
  }

  /** Returns whether to call `surplus`: a block exceeds the limit, or the last search for expired markers was too long ago. */
  isSurplusDue(now: number): boolean {
    // The wall clock may have been set back.
    const isLate = Math.abs(now - this.#searchedAt) >= searchMs
    return isLate || this.#excess > 0
  }

  /** The number of completion markers that exceed the limit, or 0 if they do not fill a block. */
  get #excess(): number {
    const excess = this.#markers.size - this.#maxMarkers
    return excess < surplusBlock ? 0 : excess
  }

  /** Returns up to a block of completion markers that expired before `now` or exceed the limit by a block, oldest first. */
  surplus(now: number): readonly CompletionMarker[] {
    this.#searchedAt = now
    const surplus: CompletionMarker[] = []
    let excess = this.#excess
    for (const { value } of this.#markers.entries()) {
      if (surplus.length === surplusBlock || (value.until >= now && excess-- <= 0)) break
      surplus.push(value)
    }
    return surplus
  }

  /** Drops completion markers that have not changed meanwhile. They may reappear after a restart. */
  drop(markers: readonly CompletionMarker[]): void {
    for (const marker of markers) {
      if (this.#markers.get(marker.file)?.value === marker) this.#markers.set(marker.file, undefined)
    }
  }

  /** Replaces records by completion markers, durably. */
  complete(markers: readonly CompletionMarker[]): Promise<void> {
    const changes: Change[] = []
    const removals: Change[] = []
    for (const marker of markers) {
      if (this.#records.get(marker.file)) removals.push(this.#records.set(marker.file, undefined))
      changes.push(this.#markers.set(marker.file, marker))
    }
    const rows = markers.map((value): Row => ({ kind: 'completed', value }))
    return this.#append(rows, [...changes, ...removals])
  }

  /** Replaces a completion marker, durably. */
  rewrite(marker: CompletionMarker): Promise<void> {
    return this.#append([{ kind: 'note', value: marker }], [this.#markers.set(marker.file, marker)])
  }

  forget(user: string, name: string): Promise<void> {
    const value = { user, name }
    return this.#append([{ kind: 'forgotten', value }], [this.#markers.set(value, undefined)])
  }

  /** Marks completion markers as reported, durably. */
  async report(subjects: readonly Subject[]): Promise<void> {
    const rows: Row[] = []
    const changes: Change[] = []
    for (const subject of subjects) {
      const entry = this.#markers.get(subject)
      if (!entry) continue
      rows.push({ kind: 'reported', value: { user: subject.user, name: subject.name } })
      changes.push(new MarkReported(entry))
    }
    if (rows.length > 0) await this.#append(rows, changes)
  }

  enter(found: JournalRecord): void {
    const row = readRow(found.record)
    if (!row) this.#journal.reportDamage(found)
    else if (row.kind === 'record') this.#records.set(row.value, row.value).durable(found)
    else if (row.kind === 'completed' || row.kind === 'note') {
      this.#markers.set(row.value.file, row.value).durable(found)
      if (row.kind === 'completed') this.#records.set(row.value.file, undefined)
    } else if (row.kind === 'removed') this.#records.set(row.value, undefined)
    else if (row.kind === 'forgotten') this.#markers.set(row.value, undefined)
    else if (row.kind === 'reported') {
      const entry = this.#markers.get(row.value)
      if (entry) entry.value = reportedOf(entry.value)
    }
  }

  move(segment: number, records: readonly JournalRecord[], isLast: boolean): Moved {
    // The values are in memory, also those of rows that cannot be read from the disk.
    const last = isLast ? Number.POSITIVE_INFINITY : (records.at(-1)?.offset ?? -1)
    const liveRecords = this.#records.live(segment, last)
    const liveMarkers = this.#markers.live(segment, last)
    return {
      records: [
        ...liveRecords.map(({ value }) => writeRow({ kind: 'record', value })),
        ...liveMarkers.map(({ value }) => writeRow({ kind: 'note', value })),
      ],
      moved: (places) => {
        for (const [index, place] of places.entries()) {
          const record = liveRecords[index]
          const marker = liveMarkers[index - liveRecords.length]
          if (record) this.#records.locate(record, place)
          if (marker) this.#markers.locate(marker, place)
        }
      },
    }
  }

  /** Appends rows. `changes[i]` becomes durable with `rows[i]`. Changes without a row may only remove entries. */
  #append(rows: readonly Row[], changes: readonly Change[]): Promise<void> {
    return this.#writer.add({
      records: rows.map(writeRow),
      frees: rows.every(({ kind }) => kind === 'removed'),
      durable(places) {
        places.forEach((place, index) => {
          changes[index]?.durable(place)
        })
      },
      undo() {
        for (const change of changes.toReversed()) change.undo()
      },
    })
  }
}

/** The number of completion markers that are dropped at once. */
export const surplusBlock = 512

/** The minimum time between two searches for expired completion markers. */
const searchMs = 60_000

/** Marks a completion marker as reported. */
class MarkReported implements Change {
  readonly #entry: Entry<CompletionMarker>
  readonly #former: CompletionMarker

  constructor(entry: Entry<CompletionMarker>) {
    this.#entry = entry
    this.#former = entry.value
    entry.value = reportedOf(entry.value)
  }

  durable(): void {}

  undo(): void {
    this.#entry.value = this.#former
  }
}

/** Returns the marker of a file that was reported. The server reports a file when it is published. */
function reportedOf({ announced: _, ...marker }: CompletionMarker): CompletionMarker {
  return { ...marker, reported: true }
}
