import type { MemoryJournal } from '../../lib/adapters/memory/memoryJournal.ts'
import { OspError } from '../../lib/errors.ts'
import type { Damage } from '../../lib/ports/mailboxes.ts'
import type { Journal, Piece, Place, Segment } from '../../lib/storage/journal/journal.ts'
import { readRow } from '../../lib/storage/transfers/rows.ts'
import type { SimulatedDisk } from './disk.ts'
import type { SimulatedProcess } from './process.ts'

/**
 * The journal of messages or of uploads on a simulated disk, as one process sees it. Operations take time, and some
 * fail.
 */
export class SimulatedJournal implements Journal {
  readonly damages: Damage[] = []
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #kind: 'messages' | 'uploads'
  readonly #journal: MemoryJournal
  readonly #isInstant: boolean
  /** Whether a flush has failed: only reopening determines the stored records. */
  #broken = false

  /** `isInstant`: operations take no time, for checks from outside. */
  constructor(disk: SimulatedDisk, process: SimulatedProcess, kind: 'messages' | 'uploads', isInstant = false) {
    this.#disk = disk
    this.#process = process
    this.#kind = kind
    this.#journal = kind === 'messages' ? disk.journal : disk.uploads
    this.#isInstant = isInstant
  }

  get segments(): readonly Segment[] {
    return this.#journal.segments
  }

  get segmentBytes(): number {
    return this.#journal.segmentBytes
  }

  async append(records: readonly Buffer[]): Promise<readonly Place[]> {
    if (this.#broken) throw new OspError('internal', 'flushing the messages failed before')
    const disk = this.#disk
    disk.rot.written(records)
    if (this.#isInstant) return this.#journal.append(records)
    const partly = () => this.#append(records.slice(0, this.#kept(records.length)))
    return this.#process.effect<readonly Place[]>(
      disk.operationMs,
      'time of an append',
      () => this.#tryAppend(records),
      partly,
    )
  }

  #tryAppend(records: readonly Buffer[]): Promise<readonly Place[]> {
    const disk = this.#disk
    if (this.#kind === 'uploads') {
      disk.faults.reserve(1)
      const isCompletion = records.some((record) => readRow(record)?.kind === 'completed')
      const append = () => this.#append(records)
      // A failed append is truncated again.
      return disk.faults.attempt('record', isCompletion ? () => disk.faults.attempt('completion', append) : append)
    }
    if (!disk.flushFails) return this.#append(records)
    disk.flushFails = false
    this.#broken = true
    void this.#append(records.slice(0, this.#kept(records.length)))
    throw new OspError('internal', 'flushing the messages failed')
  }

  #append(records: readonly Buffer[]): Promise<readonly Place[]> {
    if (this.#kind === 'uploads') this.#disk.record(records)
    return this.#journal.append(records)
  }

  read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]> {
    return this.#take('time to read messages', async () => {
      const records = await this.#journal.read(places)
      return records.map((record, at) => (record && this.#isReadable(record, places[at]) ? record : undefined))
    })
  }

  load(segment: number, from?: number): Promise<Piece> {
    return this.#take('time to load records', async () => {
      if (this.#kind === 'uploads') this.#disk.faults.attempt('look', () => {})
      const { records, next } = await this.#journal.load(segment, from)
      return { records: records.filter((found) => this.#isReadable(found.record, found)), next }
    })
  }

  drop(): Promise<void> {
    return this.#take('time to drop a segment', () => this.#journal.drop())
  }

  free(): Promise<number> {
    return this.#take('time to look for room', async () => this.#disk.faults.freeBytes)
  }

  async close(): Promise<void> {}

  reportDamage({ segment, offset, length }: Place): void {
    const file = `segment ${segment} of ${this.#kind}`
    if (!this.damages.some((known) => known.file === file && known.offset === offset))
      this.damages.push({ file, offset, bytes: length, atEnd: false })
  }

  /** Records that are not intact are recorded as damaged. */
  #isReadable(record: Buffer, place: Place | undefined): boolean {
    if (this.#disk.rot.isReadable(record)) return true
    const { segment = 0, offset = 0 } = place ?? {}
    this.reportDamage({ segment, offset, length: record.length })
    return false
  }

  /** Of this many records in flight when the process ends, returns how many are on the disk. */
  #kept(records: number): number {
    return Math.floor(this.#process.platform.random.fraction('records that are left') * (records + 1))
  }

  #take<T>(reason: string, act: () => Promise<T>): Promise<T> {
    if (this.#isInstant) return act()
    return this.#process.effect<T>(this.#disk.operationMs, reason, act)
  }
}
