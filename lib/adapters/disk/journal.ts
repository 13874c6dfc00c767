import type { FileHandle } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import { KiB, MiB } from '../../limits.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Journal, JournalRecord, Piece, Place } from '../../storage/journal/journal.ts'
import type { Ballast } from './ballast.ts'
import { attempt, errnoOf } from './faults.ts'
import { type GrowingSegment, JournalFiles, type JournalTail } from './journalFiles.ts'
import { frameBytes, JournalFormat, type JournalFrame, journalHeaderBytes } from './journalFormat.ts'
import { quickCalls } from './quickCalls.ts'
import { readFull } from './readFull.ts'
import { WritePriority } from './writePriority.ts'

/** The bytes of a segment that are loaded at once. */
const pieceBytes = 256 * KiB
/** Records are read together if they fit in `spanBytes`, and no gap between two exceeds `gapBytes`. */
const spanBytes = MiB
const gapBytes = 64 * KiB
/** The size of a block that is read alone if the disk cannot read everything. */
const blockBytes = 4 * KiB

/** A journal in a directory, with a file for each segment. One process at a time can have it open. */
export class DiskJournal implements Journal {
  readonly segments: GrowingSegment[] = []
  readonly segmentBytes: number
  readonly damages: Damage[] = []
  readonly #directory: string
  readonly #platform: Platform
  readonly #priority: WritePriority
  readonly #ballast: Ballast | undefined
  readonly #files: JournalFiles
  readonly #format: JournalFormat
  /** The seeds of the segments with a readable header. */
  readonly #seeds = new Map<number, number>()
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
    const tail = this.#growing ?? (await this.#startSegment())
    const { bytes, offsets } = this.#format.frame(records, tail.seed)
    const { number, bytes: start } = tail.segment
    await this.#priority.append(() => tail.append(bytes, (cause) => this.#break(cause)))
    return records.map(({ length }, index) => ({ segment: number, offset: start + (offsets[index] ?? 0), length }))
  }

  async read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]> {
    const found: (Buffer | undefined)[] = []
    for (let at = 0; at < places.length; ) {
      const near = neighbours(places, at)
      found.push(...(await this.#readNear(near)))
      at += near.length
    }
    return found
  }

  async #readNear(places: readonly Place[]): Promise<(Buffer | undefined)[]> {
    const [first] = places
    const last = places.at(-1)
    if (!first || !last) return []
    const { segment, offset } = first
    const seed = this.#seeds.get(segment)
    const bytes = await this.#files.use(segment, (handle) => readAt(handle, offset, endOf(last) - offset))
    if (!bytes || seed === undefined) return places.map(() => undefined)
    return places.map((place) => {
      const at = place.offset - offset
      const end = at + frameBytes + place.length
      if (this.#format.frameAt(bytes, at, seed)?.end === end) return bytes.subarray(at + frameBytes, end)
      this.reportDamage(place)
      return undefined
    })
  }

  async load(segment: number, from: number = journalHeaderBytes): Promise<Piece> {
    const none: Piece = { records: [], next: undefined }
    const size = this.segments.find(({ number }) => number === segment)?.bytes ?? 0
    const seed = this.#seeds.get(segment)
    if (seed === undefined) {
      this.#report(segment, 0, size)
      return none
    }
    const piece = await this.#files.use(segment, async (handle): Promise<Piece> => {
      const pieceOf = (bytes: Buffer, frames: readonly JournalFrame[], end: number) => {
        const records = this.#recordsOf(segment, from, bytes, frames)
        return { records, next: end === size ? undefined : end }
      }
      const bytes = await readAt(handle, from, Math.min(pieceBytes, size - from))
      const frames: JournalFrame[] = []
      let at = 0
      for (let frame = this.#format.frameAt(bytes, at, seed); frame; frame = this.#format.frameAt(bytes, at, seed)) {
        frames.push(frame)
        at = frame.end
      }
      if (at > 0 || from === size) return pieceOf(bytes, frames, from + at)
      // The record at this place is longer than a piece, or damaged.
      const rest = await readAt(handle, from, size - from)
      const long = this.#format.frameAt(rest, 0, seed)
      return long
        ? pieceOf(rest, [long], from + long.end)
        : pieceOf(rest, [...this.#format.frames(rest, 0, seed)], size)
    })
    return piece ?? none
  }

  #recordsOf(segment: number, from: number, bytes: Buffer, frames: readonly JournalFrame[]): JournalRecord[] {
    return frames.flatMap(({ at, end, isReadable }) => {
      const record = bytes.subarray(at + frameBytes, end)
      if (!isReadable) this.#report(segment, from + at, end - at)
      else if (!this.#format.isFiller(bytes, at)) return { segment, offset: from + at, length: record.length, record }
      return []
    })
  }

  reportDamage({ segment, offset, length }: Place): void {
    this.#report(segment, offset, frameBytes + length)
  }

  /** Reports unreadable bytes, once. */
  #report(segment: number, offset: number, bytes: number, atEnd = false): void {
    const file = this.#files.pathOf(segment)
    if (this.damages.some((known) => known.file === file && known.offset === offset)) return
    this.damages.push({ file, offset, bytes, atEnd })
  }

  async drop(): Promise<void> {
    const [oldest] = this.segments
    if (!oldest || this.segments.length < 2) return
    await this.#files.remove(oldest.number)
    this.#seeds.delete(oldest.number)
    this.segments.shift()
  }

  free(): Promise<number> {
    return attempt(`checking ${this.#directory}`, async () => {
      await this.#ballast?.make()
      const { bavail, bsize } = await quickCalls.statfs(this.#directory)
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

  /** The tail to append to, or `undefined` if it is full or may be damaged. */
  get #growing(): JournalTail | undefined {
    const tail = this.#tail
    return tail?.isSound && tail.segment.bytes < this.segmentBytes ? tail : undefined
  }

  async #startSegment(): Promise<JournalTail> {
    const former = this.#tail
    const number = (this.segments.at(-1)?.number ?? 0) + 1
    const seed = Buffer.from(this.#platform.random.bytes(4, 'the seed of a segment')).readUInt32BE()
    const tail = await this.#files.create(number, seed, this.#format.header(seed))
    this.#tail = tail
    this.segments.push(tail.segment)
    this.#seeds.set(number, seed)
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
      this.segments.push({ number, bytes: await this.#examine(number) })
    }
    const last = this.segments.at(-1)
    if (!last) return
    if (last.bytes < journalHeaderBytes) {
      // The segment never had a record.
      await this.#files.remove(last.number)
      this.segments.pop()
      return
    }
    const seed = this.#seeds.get(last.number)
    if (seed === undefined) return
    const end = await this.#end(last, seed)
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

  /** Reads the header of a segment. Resolves with the length of the segment. */
  async #examine(segment: number): Promise<number> {
    const size = await this.#files.use(segment, async (handle) => {
      const { size } = await handle.stat()
      const seed = this.#format.seedOf(await readAt(handle, 0, Math.min(size, journalHeaderBytes)))
      if (seed !== undefined) this.#seeds.set(segment, seed)
      return size
    })
    return size ?? 0
  }

  /**
   * Finds the end of the last segment: the length to keep, and the bytes of the last group before it. A crash can leave
   * unreadable bytes after the start of the last group. At the end they are cut off; before a readable record a filler
   * replaces them.
   */
  async #end({ number, bytes: size }: GrowingSegment, seed: number): Promise<{ length: number; lastGroup: Buffer }> {
    const bytes = (await this.#files.use(number, (handle) => readAt(handle, 0, size))) ?? Buffer.alloc(0)
    const frames = [...this.#format.frames(bytes, journalHeaderBytes, seed)]
    const last = frames.at(-1)
    const length = last && !last.isReadable ? last.at : bytes.length
    const first = frames.findLastIndex(({ isFirst }) => isFirst)
    for (const { at, end, isReadable } of frames.slice(first + 1)) {
      if (isReadable) continue
      this.#report(number, at, end - at, true)
      if (end <= length && end - at > frameBytes) this.#format.filler(end - at, seed).copy(bytes, at)
    }
    return { length, lastGroup: bytes.subarray(frames[first]?.at ?? journalHeaderBytes, length) }
  }
}

/** Returns the places from index `at` on that can be read together. */
function neighbours(places: readonly Place[], at: number): readonly Place[] {
  let end = at + 1
  while (end < places.length && areNear(places[at], places[end - 1], places[end])) end++
  return places.slice(at, end)
}

function areNear(first?: Place, last?: Place, next?: Place): boolean {
  if (!first || !last || !next || first.segment !== next.segment) return false
  const gap = next.offset - endOf(last)
  return gap >= 0 && gap <= gapBytes && endOf(next) - first.offset <= spanBytes
}

const endOf = ({ offset, length }: Place) => offset + frameBytes + length

/** Reads up to `length` bytes. Unreadable blocks become zeros, so that their records count as damaged. */
async function readAt(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(Math.max(0, length))
  try {
    return bytes.subarray(0, await readFull(handle, bytes, offset))
  } catch (error) {
    if (errnoOf(error) !== 'EIO') throw error
  }
  const there = Math.min(bytes.length, Math.max(0, (await handle.stat()).size - offset))
  for (let at = 0, end = 0; at < there; at = end) {
    // Always the same blocks, so that each read finds the same bytes readable.
    end = Math.min(there, at + blockBytes - ((offset + at) % blockBytes))
    const block = bytes.subarray(at, end)
    try {
      await readFull(handle, block, offset + at)
    } catch (error) {
      if (errnoOf(error) !== 'EIO') throw error
      block.fill(0)
    }
  }
  return bytes.subarray(0, there)
}
