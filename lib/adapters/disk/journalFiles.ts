import { constants } from 'node:fs'
import { type FileHandle, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import { makeDirectory, syncDirectory } from './directories.ts'
import { attempt, fault, isFull, unless } from './faults.ts'
import { durableWrites, quickCalls } from './quickCalls.ts'
import { fixedDirectory, makeOwnFile, openOwnFile } from './rights.ts'

/** The number of handles for reading that stay open when they are not in use. */
const mostHandles = 8

interface Reader {
  readonly handle: Promise<FileHandle>
  users: number
  /** False if the handle must be closed when it is no longer in use. */
  isKept: boolean
}

/** The files of a journal's segments, `00000001.log` and so on in one directory. */
export class JournalFiles {
  readonly #directory: string
  readonly #checkDirectory: () => void
  /** By segment, the least recently used first. */
  readonly #readers = new BoundedMap<number, Reader>(mostHandles, (number) => void this.#letGo(number))

  constructor(directory: string) {
    this.#directory = directory
    this.#checkDirectory = fixedDirectory(directory)
  }

  pathOf(number: number): string {
    return join(this.#directory, `${String(number).padStart(8, '0')}.log`)
  }

  /** Returns the numbers of all segments, rising. Makes the entries of the directory durable first. */
  async list(): Promise<number[]> {
    await makeDirectory(this.#directory)
    await syncDirectory(this.#directory)
    this.#checkDirectory()
    const doing = `reading the directory ${this.#directory}`
    const entries = await attempt(doing, () => readdir(this.#directory))
    const numbers = entries.flatMap((entry) => /^(\d{8,})\.log$/.exec(entry)?.[1] ?? []).map(Number)
    return numbers.sort((a, b) => a - b)
  }

  /** Creates the file of a segment with its header, durably. */
  async create(number: number, seed: number, header: Buffer): Promise<JournalTail> {
    const path = this.pathOf(number)
    return attempt(`creating ${path}`, async () => {
      this.#checkDirectory()
      // A file with this number is left over from a failed attempt.
      const handle = await makeOwnFile(path, tailFlags)
      try {
        await quickCalls.write(handle.fd, [header], 0)
        await handle.sync()
        await syncDirectory(this.#directory)
        return new JournalTail({ number, bytes: header.length }, seed, path, handle)
      } catch (error) {
        await handle.close()
        await rm(path, { force: true }).catch(() => {})
        throw error
      }
    })
  }

  /** Opens the last segment for writing. */
  async openTail(segment: GrowingSegment, seed: number): Promise<JournalTail> {
    const path = this.pathOf(segment.number)
    return new JournalTail(segment, seed, path, await openOwnFile(path, tailFlags))
  }

  /** Removes the file of a segment, durably. Present reads are not disturbed. */
  async remove(number: number): Promise<void> {
    const path = this.pathOf(number)
    await this.#letGo(number)
    await attempt(`removing ${path}`, () => rm(path, { force: true }))
    await syncDirectory(this.#directory)
  }

  /** Runs `work` with a handle for reading a segment. Resolves with `undefined` if the file is missing. */
  async use<T>(number: number, work: (handle: FileHandle) => Promise<T>): Promise<T | undefined> {
    const path = this.pathOf(number)
    const reader = this.#readers.get(number) ?? this.#open(number)
    this.#readers.set(number, reader)
    reader.users++
    try {
      const handle = await unless(['ENOENT'], `opening ${path}`, () => reader.handle)
      return handle && (await attempt(`reading ${path}`, () => work(handle)))
    } finally {
      reader.users--
      if (!reader.isKept) await closeUnused(reader)
    }
  }

  async close(): Promise<void> {
    for (const number of [...this.#readers.keys()]) await this.#letGo(number)
  }

  #open(number: number): Reader {
    const reader = { handle: openOwnFile(this.pathOf(number), constants.O_RDONLY), users: 0, isKept: true }
    // The next use tries again, since the file descriptors may have run out.
    reader.handle.catch(() => {
      if (this.#readers.get(number) === reader) this.#readers.delete(number)
    })
    return reader
  }

  async #letGo(number: number): Promise<void> {
    const reader = this.#readers.get(number)
    if (!reader) return
    this.#readers.delete(number)
    reader.isKept = false
    await closeUnused(reader)
  }
}

/** A failure is ignored: the file could not be opened, or it was opened for reading only. */
async function closeUnused({ handle, users }: Reader): Promise<void> {
  if (users === 0) await handle.then((opened) => opened.close()).catch(() => {})
}

const tailFlags = constants.O_RDWR | durableWrites

/** A segment whose length changes. */
export interface GrowingSegment {
  readonly number: number
  bytes: number
}

/** The segment that a journal grows in. All of its bytes are durable. */
export class JournalTail {
  readonly segment: GrowingSegment
  readonly seed: number
  readonly #path: string
  readonly #handle: FileHandle
  /** Whether more can be appended. A failed flush or write leaves the contents of the page cache uncertain. */
  isSound = true

  constructor(segment: GrowingSegment, seed: number, path: string, handle: FileHandle) {
    this.segment = segment
    this.seed = seed
    this.#path = path
    this.#handle = handle
  }

  /** Appends bytes durably. Removes them after a failure; if it cannot, rejects with the error of `broken`. */
  async append(bytes: Buffer, broken: (cause: unknown) => OspError): Promise<void> {
    try {
      await this.#store(bytes, this.segment.bytes)
    } catch (error) {
      await this.#cutBack().catch((cause) => {
        throw broken(cause)
      })
      throw fault(error, `writing ${this.#path}`)
    }
    this.segment.bytes += bytes.length
  }

  /** Writes the last bytes again and makes all bytes durable, since a flush of an earlier process may have failed. */
  async renew(bytes: Buffer): Promise<void> {
    await this.#store(bytes, this.segment.bytes - bytes.length)
    // If only the header exists, nothing was written.
    await this.#handle.datasync()
  }

  /** Cuts the segment to a length, durably. */
  async cut(length: number): Promise<void> {
    this.segment.bytes = length
    await this.#cutBack()
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }

  async #cutBack(): Promise<void> {
    await this.#handle.truncate(this.segment.bytes)
    await this.#handle.datasync()
  }

  async #store(bytes: Buffer, at: number): Promise<void> {
    this.isSound = false
    for (let done = 0; done < bytes.length; ) done += await this.#write(bytes.subarray(done), at + done)
    if (durableWrites === 0) await this.#handle.datasync()
    this.isSound = true
  }

  /** Writes some of these bytes. Resolves with their number. */
  async #write(bytes: Buffer, at: number): Promise<number> {
    try {
      const written = await quickCalls.write(this.#handle.fd, [bytes], at)
      if (written > 0) return written
    } catch (error) {
      // A write without space writes nothing. A flush can fail for lack of space too, but then the file is longer.
      this.isSound = isFull(error) && (await this.#handle.stat()).size === at
      throw error
    }
    throw new OspError('internal', `no bytes could be written to ${this.#path}`)
  }
}
