import { OspError } from '../../errors.ts'
import type { FreeSpace } from './freeSpace.ts'
import type { Appended, Journal } from './journal.ts'

/** A change that its ledger knows of already, and that becomes durable with its record. */
export interface PendingRecord {
  /** Absent where only those before it must be durable. */
  readonly record?: Buffer
  /** Bytes of the disk that it must leave free; absent if it may use them. */
  readonly reserveBytes?: number
  /** Bytes that it must leave free beside those, to others. */
  readonly shareBytes?: number
  /** The append frees space: on a full disk it may use the room reserved for that. */
  readonly frees?: boolean
  /** Its record is durable now, at this place. */
  durable(segment: number, offset: number): void
  /** It has failed, and so have all that came after it: the ledger forgets it. */
  undo(): void
}

/** Records that go out behind a group's, made when the ledger says what holds at that group's end. */
export interface Piggyback {
  readonly records: readonly Buffer[]
  /** `offsets` are those of the group; its own begin with number `from`. */
  durable(segment: number, offsets: readonly number[], from: number): void
  failed(error: unknown): void
}

/** What takes part in commits. */
export interface CommitHooks {
  /** Records that go with the next group, if there are any. */
  rider(): Piggyback | undefined
  /** A group is durable. */
  committed(bytes: number): void
}

interface Waiting {
  readonly step: PendingRecord
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Group commit: all that waits during one write and flush goes out together in the next, in its order. */
export class GroupCommit {
  readonly #journal: Journal
  readonly #room: FreeSpace
  readonly #company: CommitHooks
  #queue: Waiting[] = []
  #running: Promise<void> | undefined
  #doubt: OspError | undefined

  constructor(journal: Journal, room: FreeSpace, company: CommitHooks) {
    this.#journal = journal
    this.#room = room
    this.#company = company
  }

  /** Why an append has failed whose records are perhaps there: until another succeeds, nobody can be told that theirs are not. */
  get doubt(): OspError | undefined {
    return this.#doubt
  }

  /** Resolves when the step, and all before it, are durable. */
  add(step: PendingRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ step, resolve, reject })
      this.wake()
    })
  }

  /** Sees whether there is something to do. */
  wake(): void {
    this.#running ??= this.#run()
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    for (;;) {
      // What is asked for in the same turn goes into the same group.
      await undefined
      while (this.#isRoomUnknown()) await this.#look()
      const rider = this.#company.rider()
      if (this.#queue.length === 0 && !rider) break
      const group = this.#queue
      this.#queue = []
      await this.#commit(this.#admitted(group), rider)
    }
    this.#running = undefined
  }

  #isRoomUnknown(): boolean {
    return !this.#room.isFresh && this.#queue.some(({ step }) => step.reserveBytes !== undefined)
  }

  async #look(): Promise<void> {
    try {
      await this.#room.look()
    } catch (error) {
      this.#fail([], error)
    }
  }

  /** The steps of a group for which there is room; the others are refused. */
  #admitted(group: Waiting[]): Waiting[] {
    if (this.#doubt) return group
    let refused = false
    const admitted = group.filter(({ step, reject }) => {
      const { record, reserveBytes, shareBytes = 0 } = step
      if (reserveBytes !== undefined && record && !this.#room.has(record.length, reserveBytes + shareBytes)) {
        refused = true
        step.undo()
        const isShare = this.#room.has(record.length, reserveBytes)
        reject(new OspError('disk-full', isShare ? shareText : noRoomText, isShare ? { publicText: shareText } : {}))
        return false
      }
      if (record) this.#room.take(record.length)
      return true
    })
    return refused ? admitted : group
  }

  async #commit(group: readonly Waiting[], rider: Piggyback | undefined): Promise<void> {
    const records: Buffer[] = []
    for (const { step } of group) if (step.record) records.push(step.record)
    const own = records.length
    if (rider) for (const record of rider.records) records.push(record)
    let appended: Appended = { segment: -1, offsets: [] }
    try {
      if (records.length > 0) {
        const frees = group.some(({ step }) => step.frees)
        appended = await this.#journal.append(records, frees)
      }
    } catch (error) {
      rider?.failed(error)
      // Perhaps there was no room only because of what rode along.
      if (rider && own > 0 && isFull(error)) return this.#commit(group, undefined)
      if (!isFull(error)) this.#doubt = OspError.from(told(error))
      return this.#fail(group, told(error))
    }
    if (records.length > 0) this.#doubt = undefined
    const { segment, offsets } = appended
    let bytes = 0
    let at = 0
    for (const { step, resolve } of group) {
      if (step.record) {
        bytes += step.record.length
        step.durable(segment, offsets[at++] ?? 0)
      } else step.durable(-1, 0)
      resolve()
    }
    rider?.durable(segment, offsets, own)
    this.#company.committed(bytes)
  }

  // Those behind it were judged by what the ledger said of it.
  #fail(group: readonly Waiting[], error: unknown): void {
    const failed = [...group, ...this.#queue]
    this.#queue = []
    for (const { step } of failed.toReversed()) step.undo()
    for (const { reject } of failed) reject(error)
  }
}

const noRoomText = 'the disk of the server has no room left'
const shareText =
  'what waits of one sender may take no more of the disk of the server than is left for others; try again later'

const noRoom: readonly string[] = ['disk-full', 'quota-exceeded']

const isFull = (error: unknown) => error instanceof OspError && noRoom.includes(error.code)

/** Without room nothing is stored for certain. After any other error of the system the result is unknown. */
function told(error: unknown): unknown {
  if (!(error instanceof OspError) || error.publicText === undefined || isFull(error)) return error
  return new OspError('internal', error.message, { cause: error })
}
