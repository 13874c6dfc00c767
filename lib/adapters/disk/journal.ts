import { statfs } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Journal, Piece, Place } from '../../storage/journal/journal.ts'
import type { Ballast } from './ballast.ts'
import { attempt } from './faults.ts'
import { type GrowingSegment, JournalFiles, type JournalTail } from './journalFiles.ts'
import { frameBytes, JournalFormat, journalHeaderBytes } from './journalFormat.ts'
import { JournalReader } from './journalReader.ts'
import { WritePriority } from './writePriority.ts'

/** A journal in a directory, with a file for each segment. One process at a time can have it open. */
export class DiskJournal implements Journal {
  readonly segments: GrowingSegment[] = []
  readonly segmentBytes: number
  readonly damages: readonly Damage[]
  readonly #directory: string
  readonly #platform: Platform
  readonly #priority: WritePriority
  readonly #ballast: Ballast | undefined
  readonly #files: JournalFiles
  readonly #format: JournalFormat
  readonly #reader: JournalReader
  #tail: JournalTail | undefined
  #broken: OspError | undefined

  /** Call `open` instead. */
  constructor(
    directory: string,
    segmentBytes: number,
    platform: Platform,
    priority = new WritePriority(platform.clock),
    ballast?: Ballast,
  ) {
    this.#directory = directory
    this.segmentBytes = segmentBytes
    this.#platform = platform
    this.#priority = priority
    this.#ballast = ballast
    this.#files = new JournalFiles(directory)
    this.#format = new JournalFormat(platform.crc32)
    this.#reader = new JournalReader(this.#files, this.#format)
    this.damages = this.#reader.damages
  }

  /**
   * Opens a journal. Creates the directory if it is missing, and cuts off an unfinished write that a crash has left at
   * the end. The cut, and an append that frees space, use the ballast if the disk is full.
   */
  static async open(...settings: ConstructorParameters<typeof DiskJournal>): Promise<DiskJournal> {
    const journal = new DiskJournal(...settings)
    try {
      await journal.#recover()
    } catch (error) {
      await journal.close()
      throw error
    }
    return journal
  }

  append(records: readonly Buffer[], frees = false): Promise<readonly Place[]> {
    return frees ? this.#inRoom(() => this.#append(records)) : this.#append(records)
  }

  /** Does `work`, with the space of the ballast if the disk is full. */
  #inRoom<T>(work: () => Promise<T>): Promise<T> {
    return this.#ballast ? this.#ballast.during(work) : work()
  }

  async #append(records: readonly Buffer[]): Promise<readonly Place[]> {
    if (this.#broken) throw this.#broken
    const tail = await this.#growing()
    const { bytes, offsets } = this.#format.frame(records, tail.seed)
    const { number, bytes: start } = tail.segment
    await this.#priority.append(() => tail.append(bytes, (cause) => this.#break(cause)))
    return records.map(({ length }, index) => ({ segment: number, offset: start + (offsets[index] ?? 0), length }))
  }

  read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]> {
    return this.#reader.read(places)
  }

  load(segment: number, from: number = journalHeaderBytes): Promise<Piece> {
    const bytes = this.segments.find(({ number }) => number === segment)?.bytes ?? 0
    return this.#reader.load(segment, from, bytes)
  }

  reportDamage({ segment, offset, length }: Place): void {
    this.#reader.reportDamage(segment, offset, frameBytes + length, false)
  }

  async drop(): Promise<void> {
    const [oldest] = this.segments
    if (!oldest || this.segments.length < 2) return
    await this.#files.remove(oldest.number)
    this.#reader.seeds.delete(oldest.number)
    this.segments.shift()
  }

  free(): Promise<number> {
    return attempt(`checking ${this.#directory}`, async () => {
      await this.#ballast?.make()
      const { bavail, bsize } = await statfs(this.#directory)
      return bavail * bsize
    })
  }

  async close(): Promise<void> {
    this.#broken ??= new OspError('closed', 'the storage is closed; open it first')
    const tail = this.#tail
    this.#tail = undefined
    await tail?.close()
    await this.#files.close()
  }

  /** Returns the tail to append to. Starts another segment if the last one is full or may be damaged. */
  async #growing(): Promise<JournalTail> {
    const former = this.#tail
    if (former?.isSound && former.segment.bytes < this.segmentBytes) return former
    const number = (this.segments.at(-1)?.number ?? 0) + 1
    const seed = Buffer.from(this.#platform.random.bytes(4, 'the seed of a segment')).readUInt32BE()
    const tail = await this.#files.create(number, seed, this.#format.header(seed))
    this.#tail = tail
    this.segments.push(tail.segment)
    this.#reader.seeds.set(number, seed)
    await former?.close()
    return tail
  }

  #break(cause: unknown): OspError {
    const why = 'since a write failed and its bytes could not be removed; check the disk and restart the server'
    this.#broken = new OspError('internal', `${this.#directory} accepts no more records, ${why}`, { cause })
    return this.#broken
  }

  async #recover(): Promise<void> {
    for (const number of await this.#files.list()) {
      this.segments.push({ number, bytes: await this.#reader.examine(number) })
    }
    const last = this.segments.at(-1)
    if (!last) return
    if (last.bytes < journalHeaderBytes) {
      // The segment never had a record.
      await this.#files.remove(last.number)
      this.segments.pop()
      return
    }
    const seed = this.#reader.seeds.get(last.number)
    if (seed === undefined) return
    const end = await this.#reader.end(last.number, last.bytes)
    const isTorn = end.length < last.bytes
    await attempt(`recovering ${this.#files.pathOf(last.number)}`, async () => {
      const tail = await this.#files.openTail(last, seed)
      this.#tail = tail
      await this.#inRoom(async () => {
        if (isTorn) await tail.cut(end.length)
        await tail.renew(end.lastGroup)
      })
    })
  }
}
