import type { Appended, Journal, Piece, Place, Segment } from '../adapters/mailboxes/journal.ts'
import { OspError } from '../errors.ts'
import type { Damage } from '../ports/mailboxes.ts'
import type { SimulatedDisk } from './disk.ts'
import type { SimulatedProcess } from './process.ts'

/** The journal of a simulated disk, as one process sees it: everything takes its time, and some of it fails. */
export class SimulatedJournal implements Journal {
  readonly damages: Damage[] = []
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #isInstant: boolean
  /** A flush has failed: only opening it anew settles what is there. */
  #broken = false

  /** `isInstant`: nothing takes time, for a look from outside. */
  constructor(disk: SimulatedDisk, process: SimulatedProcess, isInstant = false) {
    this.#disk = disk
    this.#process = process
    this.#isInstant = isInstant
  }

  get segments(): readonly Segment[] {
    return this.#disk.journal.segments
  }

  get segmentBytes(): number {
    return this.#disk.journal.segmentBytes
  }

  async append(records: readonly Buffer[]): Promise<Appended> {
    if (this.#broken) throw new OspError('internal', 'flushing the messages failed before')
    const disk = this.#disk
    disk.rot.written(records)
    if (this.#isInstant) return disk.journal.append(records)
    const partly = () => disk.journal.append(records.slice(0, this.#kept(records.length)))
    const append = () => {
      if (!disk.flushFails) return disk.journal.append(records)
      disk.flushFails = false
      this.#broken = true
      void partly()
      throw new OspError('internal', 'flushing the messages failed')
    }
    return this.#process.effect<Appended>(disk.operationMs, 'time of an append', append, partly)
  }

  read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]> {
    return this.#take('time to read messages', async () => {
      const records = await this.#disk.journal.read(places)
      return records.map((record, at) => (record && this.#isReadable(record, places[at]) ? record : undefined))
    })
  }

  load(segment: number, from?: number): Promise<Piece> {
    return this.#take('time to load messages', async () => {
      const { records, next } = await this.#disk.journal.load(segment, from)
      return { records: records.filter((found) => this.#isReadable(found.record, found)), next }
    })
  }

  drop(): Promise<void> {
    return this.#take('time to drop a segment', () => this.#disk.journal.drop())
  }

  free(): Promise<number> {
    return this.#take('time to look for room', async () => this.#disk.troubles.freeBytes)
  }

  async close(): Promise<void> {}

  /** What is not is noted. */
  #isReadable(record: Buffer, place: Place | undefined): boolean {
    if (this.#disk.rot.isReadable(record)) return true
    const { segment = 0, offset = 0 } = place ?? {}
    const file = `segment ${segment}`
    if (!this.damages.some((known) => known.file === file && known.offset === offset))
      this.damages.push({ file, offset, bytes: record.length, atEnd: false })
    return false
  }

  /** Of so many records under way when it ends, how many the disk has. */
  #kept(records: number): number {
    return Math.floor(this.#process.platform.random.fraction('records that are left') * (records + 1))
  }

  #take<T>(reason: string, act: () => Promise<T>): Promise<T> {
    if (this.#isInstant) return act()
    return this.#process.effect<T>(this.#disk.operationMs, reason, act)
  }
}
