import { OspError } from '../../errors.ts'
import { GroupCommit, type Uncommitted } from '../../runtime/groupCommit.ts'
import type { Appended, Journal } from './journal.ts'

/** A change that is in memory already, and that becomes durable with its record. */
export interface PendingRecord {
  /** Absent if only the earlier changes must be durable. */
  readonly record?: Buffer
  /** Bytes of the disk that must stay free after the append; absent if the record may use them. */
  readonly reserveBytes?: number
  /** Additional bytes that must stay free for other senders. */
  readonly shareBytes?: number
  /** The append frees space: on a full disk it may use the ballast. */
  readonly frees?: boolean
  /** Called when the record is durable, with its place. */
  durable(segment: number, offset: number): void
  /** Undoes the change in memory, after the append of it or of an earlier change has failed. */
  undo(): void
}

/** Records that are appended after the records of a group. They hold the current state after that group. */
export interface Piggyback {
  readonly records: readonly Buffer[]
  /** `offsets` are those of the whole append; the records of the piggyback begin at index `from`. */
  durable(segment: number, offsets: readonly number[], from: number): void
  failed(error: unknown): void
}

/** Callbacks of a `JournalWriter`. */
export interface CommitHooks {
  /** Returns the records to append with the next group, if any. */
  piggyback(): Piggyback | undefined
  /** Called when a group is durable, with the bytes of its records. */
  committed(bytes: number): void
}

/** How long, and for how many written bytes, the last reading of the free space is valid. */
const freshMs = 100
const freshBytes = 4 * 1024 * 1024

/** Appends records to a journal by group commit, and keeps a reserve of free space. */
export class JournalWriter {
  readonly #journal: Journal
  readonly #now: () => number
  readonly #hooks: CommitHooks
  readonly #commits = new GroupCommit<PendingRecord>({
    commit: (group) => this.#commit(group),
    // Later changes were made on the assumption that the earlier ones hold.
    undo: (change) => change.undo(),
  })
  #uncertainty: OspError | undefined
  #freeBytes = 0
  #measuredAt = Number.NEGATIVE_INFINITY
  #writtenBytes = 0

  constructor(journal: Journal, now: () => number, hooks: CommitHooks) {
    this.#journal = journal
    this.#now = now
    this.#hooks = hooks
  }

  /** The error of an append whose records may exist nevertheless. Until an append succeeds, a refusal must give this error. */
  get uncertainty(): OspError | undefined {
    return this.#uncertainty
  }

  /** Resolves when the change, and all earlier changes, are durable. */
  add(change: PendingRecord): Promise<void> {
    return this.#commits.add(change)
  }

  /** Starts a commit, even if it consists of a piggyback only. */
  wake(): void {
    this.#commits.wake()
  }

  /** Resolves when no commit is under way. */
  idle(): Promise<void> {
    return this.#commits.idle()
  }

  async #commit(group: readonly Uncommitted<PendingRecord>[]): Promise<void> {
    // Before anything is awaited: the contents in memory are now those after this group.
    const piggyback = this.#hooks.piggyback()
    if (group.length === 0 && !piggyback) return
    try {
      await this.#measure(group)
    } catch (error) {
      piggyback?.failed(error)
      throw error
    }
    await this.#append(this.#admitted(group), piggyback)
  }

  /** Reads the free space of the disk if the group needs it and the last reading is too old. */
  async #measure(group: readonly Uncommitted<PendingRecord>[]): Promise<void> {
    const isFresh = this.#writtenBytes < freshBytes && this.#now() - this.#measuredAt <= freshMs
    if (isFresh || !group.some(({ item }) => item.reserveBytes !== undefined)) return
    this.#freeBytes = await this.#journal.free()
    this.#measuredAt = this.#now()
    this.#writtenBytes = 0
  }

  /** Returns the changes of a group for which the disk has space, and refuses the others. */
  #admitted(group: readonly Uncommitted<PendingRecord>[]): PendingRecord[] {
    const admitted: PendingRecord[] = []
    for (const change of group) {
      const refusal = this.#uncertainty ? undefined : this.#refusalOf(change.item)
      if (refusal) {
        change.item.undo()
        change.reject(refusal)
      } else admitted.push(change.item)
    }
    return admitted
  }

  /** Returns why there is no space for a change; otherwise counts its bytes as written. */
  #refusalOf({ record, reserveBytes, shareBytes = 0 }: PendingRecord): OspError | undefined {
    if (!record) return undefined
    const leftBytes = this.#freeBytes - record.length
    if (reserveBytes !== undefined && leftBytes < reserveBytes + shareBytes) {
      // The next group measures again.
      this.#measuredAt = Number.NEGATIVE_INFINITY
      if (leftBytes < reserveBytes) return new OspError('disk-full', fullText)
      return new OspError('disk-full', shareText, { publicText: shareText })
    }
    this.#freeBytes = leftBytes
    this.#writtenBytes += record.length
    return undefined
  }

  async #append(changes: readonly PendingRecord[], piggyback: Piggyback | undefined): Promise<void> {
    const own = changes.flatMap(({ record }) => record ?? [])
    const records = piggyback ? [...own, ...piggyback.records] : own
    let appended: Appended = { segment: -1, offsets: [] }
    try {
      if (records.length > 0) {
        const frees = changes.some((change) => change.frees)
        appended = await this.#journal.append(records, frees)
      }
    } catch (error) {
      piggyback?.failed(error)
      // The group may fit without the piggyback.
      if (piggyback && own.length > 0 && isFull(error)) return this.#append(changes, undefined)
      if (!isFull(error)) this.#uncertainty = OspError.from(withoutPublicText(error))
      throw withoutPublicText(error)
    }
    if (records.length > 0) this.#uncertainty = undefined
    this.#appended(changes, appended)
    piggyback?.durable(appended.segment, appended.offsets, own.length)
    this.#hooks.committed(own.reduce((sum, { length }) => sum + length, 0))
  }

  #appended(changes: readonly PendingRecord[], { segment, offsets }: Appended): void {
    let index = 0
    for (const change of changes) {
      if (change.record) change.durable(segment, offsets[index++] ?? 0)
      else change.durable(-1, 0)
    }
  }
}

const fullText = 'the disk of the server is full'
const shareText =
  'the waiting messages of one sender must leave space on the disk of the server for other senders; try again later'

const fullCodes: readonly string[] = ['disk-full', 'quota-exceeded']

const isFull = (error: unknown) => error instanceof OspError && fullCodes.includes(error.code)

/** On a full disk nothing was stored for certain. After any other error of the system the result is unknown, hence `internal`. */
function withoutPublicText(error: unknown): unknown {
  if (!(error instanceof OspError) || error.publicText === undefined || isFull(error)) return error
  return new OspError('internal', error.message, { cause: error })
}
