import type { Appended, Journal, Piece, Place, Segment } from '../adapters/mailboxes/journal.ts'
import { OspError } from '../errors.ts'
import type { SimulatedDisk } from './disk.ts'
import type { SimulatedProcess } from './process.ts'

/** The journal of a simulated disk, as one process sees it: everything takes its time, and some of it fails. */
export class SimulatedJournal implements Journal {
  readonly damages = []
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  /** A flush has failed: only opening it anew settles what is there. */
  #broken = false

  constructor(disk: SimulatedDisk, process: SimulatedProcess) {
    this.#disk = disk
    this.#process = process
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
    return this.#take('time to read messages', () => this.#disk.journal.read(places))
  }

  load(segment: number, from?: number): Promise<Piece> {
    return this.#take('time to load messages', () => this.#disk.journal.load(segment, from))
  }

  drop(): Promise<void> {
    return this.#take('time to drop a segment', () => this.#disk.journal.drop())
  }

  free(): Promise<number> {
    return this.#take('time to look for room', async () => this.#disk.troubles.freeBytes)
  }

  async close(): Promise<void> {}

  /** Of so many records under way when it ends, how many the disk has. */
  #kept(records: number): number {
    return Math.floor(this.#process.platform.random.fraction('records that are left') * (records + 1))
  }

  #take<T>(reason: string, act: () => Promise<T>): Promise<T> {
    return this.#process.effect<T>(this.#disk.operationMs, reason, act)
  }
}
