import type { FileHandle } from 'node:fs/promises'
import type { Damage } from '../../ports/mailboxes.ts'
import type { JournalRecord, Piece, Place } from '../../storage/journal/journal.ts'
import { errnoOf } from './faults.ts'
import type { JournalFiles } from './journalFiles.ts'
import { frameBytes, type JournalFormat, type JournalFrame, journalHeaderBytes } from './journalFormat.ts'
import { readFull } from './readFull.ts'

/** The bytes of a segment that are loaded at once. */
const pieceBytes = 256 * 1024
/** Records are read together if they fit in `spanBytes`, and no gap between two exceeds `gapBytes`. */
const spanBytes = 1024 * 1024
const gapBytes = 64 * 1024

/** Reads the records of the segments of a journal, and reports unreadable ones as damage. */
export class JournalReader {
  readonly damages: Damage[] = []
  /** The seeds of the segments with a readable header. */
  readonly seeds = new Map<number, number>()
  readonly #files: JournalFiles
  readonly #format: JournalFormat

  constructor(files: JournalFiles, format: JournalFormat) {
    this.#files = files
    this.#format = format
  }

  /** Reads the header of a segment. Resolves with the length of the segment. */
  async examine(segment: number): Promise<number> {
    const size = await this.#files.use(segment, async (handle) => {
      const { size } = await handle.stat()
      const seed = this.#format.seedOf(await readAt(handle, 0, Math.min(size, journalHeaderBytes)))
      if (seed !== undefined) this.seeds.set(segment, seed)
      return size
    })
    return size ?? 0
  }

  /**
   * Finds the end of the last segment: the length to keep, and the bytes of the last group before it. A crash can leave
   * unreadable bytes after the start of the last group. At the end they are cut off; before a readable record a filler
   * replaces them.
   */
  async end(segment: number, size: number): Promise<{ length: number; lastGroup: Buffer }> {
    const bytes = (await this.#files.use(segment, (handle) => readAt(handle, 0, size))) ?? Buffer.alloc(0)
    const seed = this.seeds.get(segment) ?? 0
    const frames = [...this.#format.frames(bytes, journalHeaderBytes, seed)]
    const last = frames.at(-1)
    const length = last && !last.isReadable ? last.at : bytes.length
    const first = frames.findLastIndex(({ isFirst }) => isFirst)
    for (const { at, end, isReadable } of frames.slice(first + 1)) {
      if (isReadable) continue
      this.reportDamage(segment, at, end - at, true)
      if (end <= length && end - at > frameBytes) this.#format.filler(end - at, seed).copy(bytes, at)
    }
    return { length, lastGroup: bytes.subarray(frames[first]?.at ?? journalHeaderBytes, length) }
  }

  /** Returns some of the records of a segment of `size` bytes. */
  async load(segment: number, from: number, size: number): Promise<Piece> {
    const seed = this.seeds.get(segment)
    if (seed === undefined) {
      this.reportDamage(segment, 0, size, false)
      return { records: [], next: undefined }
    }
    const piece = await this.#files.use(segment, async (handle): Promise<Piece> => {
      const bytes = await readAt(handle, from, Math.min(pieceBytes, size - from))
      const frames: JournalFrame[] = []
      let at = 0
      for (let frame = this.#format.frameAt(bytes, at, seed); frame; frame = this.#format.frameAt(bytes, at, seed)) {
        frames.push(frame)
        at = frame.end
      }
      const next = from + at === size ? undefined : from + at
      if (next === undefined || at > 0) return { records: this.#found(segment, from, bytes, frames), next }
      // The record at this place is longer than a piece, or damaged.
      const rest = await readAt(handle, from, size - from)
      const [first] = this.#format.frames(rest, 0, seed)
      if (!first?.isReadable) {
        const all = [...this.#format.frames(rest, 0, seed)]
        return { records: this.#found(segment, from, rest, all), next: undefined }
      }
      const end = from + first.end
      return { records: this.#found(segment, from, rest, [first]), next: end === size ? undefined : end }
    })
    return piece ?? { records: [], next: undefined }
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
    const seed = this.seeds.get(segment)
    const bytes = await this.#files.use(segment, (handle) => readAt(handle, offset, endOf(last) - offset))
    if (!bytes || seed === undefined) return places.map(() => undefined)
    return places.map((place) => {
      const at = place.offset - offset
      const end = at + frameBytes + place.length
      if (this.#format.frameAt(bytes, at, seed)?.end === end) return bytes.subarray(at + frameBytes, end)
      this.reportDamage(segment, place.offset, frameBytes + place.length, false)
      return undefined
    })
  }

  #found(segment: number, from: number, bytes: Buffer, frames: readonly JournalFrame[]): JournalRecord[] {
    const found: JournalRecord[] = []
    for (const { at, end, isReadable } of frames) {
      const start = at + frameBytes
      if (!isReadable) this.reportDamage(segment, from + at, end - at, false)
      else if (!this.#format.isFiller(bytes, at))
        found.push({ segment, offset: from + at, length: end - start, record: bytes.subarray(start, end) })
    }
    return found
  }

  /** Reports unreadable bytes, once. */
  reportDamage(segment: number, offset: number, bytes: number, atEnd: boolean): void {
    const file = this.#files.pathOf(segment)
    if (this.damages.some((known) => known.file === file && known.offset === offset)) return
    this.damages.push({ file, offset, bytes, atEnd })
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

/** The size of a block that is read alone if the disk cannot read everything. */
const blockBytes = 4_096

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
