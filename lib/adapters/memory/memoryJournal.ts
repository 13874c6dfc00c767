import { OspError } from '../../errors.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Journal, JournalRecord, Piece, Place } from '../../storage/journal/journal.ts'
import { idealConditions, type MemoryConditions } from './simulatedLatency.ts'

interface MemorySegment {
  readonly number: number
  readonly records: Buffer[]
  bytes: number
}

const pieceRecords = 1_000

/** A journal in memory. An offset is the index of a record. Records survive the closing of their storage. */
export class MemoryJournal implements Journal {
  readonly segments: MemorySegment[] = []
  readonly damages: Damage[] = []
  readonly segmentBytes: number
  readonly #conditions: MemoryConditions

  /** The records of `left` are copied. */
  constructor(segmentBytes: number, conditions: Partial<MemoryConditions> = {}, left?: MemoryJournal) {
    this.segmentBytes = segmentBytes
    this.#conditions = { ...idealConditions, ...conditions }
    for (const segment of left?.segments ?? []) this.segments.push({ ...segment, records: [...segment.records] })
  }

  append(records: readonly Buffer[]): Promise<readonly Place[]> {
    return this.#conditions.runDurable(() => this.#append(records))
  }

  async read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]> {
    return places.map(({ segment, offset }) => this.#find(segment)?.records[offset])
  }

  async load(segment: number, from = 0): Promise<Piece> {
    const all = this.#find(segment)?.records ?? []
    const records = all
      .slice(from, from + pieceRecords)
      .map((record, index): JournalRecord => ({ segment, offset: from + index, length: record.length, record }))
    const next = from + records.length
    return { records, next: next < all.length ? next : undefined }
  }

  reportDamage({ segment, offset, length }: Place): void {
    this.damages.push({ file: `segment ${segment}`, offset, bytes: length, atEnd: false })
  }

  drop(): Promise<void> {
    return this.#conditions.runDurable(() => {
      if (this.segments.length > 1) this.segments.shift()
    })
  }

  async free(): Promise<number> {
    return Math.min(this.#conditions.capacity - this.#used(), Number.MAX_SAFE_INTEGER)
  }

  async close(): Promise<void> {}

  #append(records: readonly Buffer[]): readonly Place[] {
    const { capacity, flushFails } = this.#conditions
    const bytes = records.reduce((sum, { length }) => sum + length, 0)
    if (bytes > capacity - this.#used()) {
      throw new OspError('disk-full', `the ${capacity} bytes of this storage are used up`)
    }
    if (flushFails()) throw new OspError('internal', 'flushing the journal failed')
    let segment = this.segments.at(-1)
    if (!segment || segment.bytes >= this.segmentBytes) {
      segment = { number: (segment?.number ?? 0) + 1, records: [], bytes: 0 }
      this.segments.push(segment)
    }
    const first = segment.records.length
    for (const record of records) segment.records.push(record)
    segment.bytes += bytes
    const { number } = segment
    return records.map(({ length }, index) => ({ segment: number, offset: first + index, length }))
  }

  #find(segment: number): MemorySegment | undefined {
    return this.segments.find(({ number }) => number === segment)
  }

  #used(): number {
    return this.segments.reduce((sum, { bytes }) => sum + bytes, 0)
  }
}
