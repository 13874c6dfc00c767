import { constants } from 'node:fs'
import { type FileHandle, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'
import { makeDirectory, syncDirectory } from './directories.ts'
import { attempt, fault, isFull, unless } from './faults.ts'
import { FixedDirectory, makeOwnFile, openOwnFile } from './rights.ts'

/** Handles for reading that are kept while nobody uses them. */
const mostHandles = 8

interface Reader {
  readonly handle: Promise<FileHandle>
  users: number
  /** It is closed when nobody uses it and it is not kept. */
  isKept: boolean
}

/** The files of a journal's segments, `00000001.log` and so on in one directory. */
export class JournalFiles {
  readonly #directory: string
  readonly #fixed: FixedDirectory
  /** Those that are kept, in the order in which they were used last. */
  readonly #readers = new Map<number, Reader>()

  constructor(directory: string) {
    this.#directory = directory
    this.#fixed = new FixedDirectory(directory)
  }

  pathOf(number: number): string {
    return join(this.#directory, `${String(number).padStart(8, '0')}.log`)
  }

  /** The numbers of all segments, rising. Whether they are there, or not any more, is durable. */
  async list(): Promise<number[]> {
    await makeDirectory(this.#directory)
    await this.sync()
    this.#fixed.check()
    const doing = `reading the directory ${this.#directory}`
    const entries = await attempt(doing, () => readdir(this.#directory))
    const numbers = entries.flatMap((entry) => /^(\d{8,})\.log$/.exec(entry)?.[1] ?? []).map(Number)
    return numbers.sort((a, b) => a - b)
  }

  /** Makes the file of a segment with its first bytes, durable, and opens it for writing. */
  async create(number: number, bytes: Buffer): Promise<FileHandle> {
    const path = this.pathOf(number)
    return attempt(`making ${path}`, async () => {
      this.#fixed.check()
      // One of this number is the rest of an attempt that failed.
      const handle = await openTail(path, true)
      try {
        await handle.write(bytes, 0, bytes.length, 0)
        await handle.sync()
        await this.sync()
        return handle
      } catch (error) {
        await handle.close()
        await rm(path, { force: true }).catch(() => {})
        throw error
      }
    })
  }

  /** Removes the file of a segment: durable. Whoever reads it ends undisturbed. */
  async remove(number: number): Promise<void> {
    const path = this.pathOf(number)
    await this.#letGo(number)
    await attempt(`removing ${path}`, () => rm(path, { force: true }))
    await this.sync()
  }

  /** The entries of the directory are durable. */
  async sync(): Promise<void> {
    await syncDirectory(this.#directory)
  }

  /** Reads from a segment; `undefined` if its file is not there. */
  async use<T>(number: number, work: (handle: FileHandle) => Promise<T>): Promise<T | undefined> {
    const path = this.pathOf(number)
    const reader = this.#readers.get(number) ?? {
      handle: openOwnFile(path, constants.O_RDONLY),
      users: 0,
      isKept: true,
    }
    reader.users++
    this.#readers.delete(number)
    this.#readers.set(number, reader)
    try {
      const handle = await unless(['ENOENT'], `opening ${path}`, () => reader.handle)
      if (handle) return await attempt(`reading ${path}`, () => work(handle))
      await this.#letGo(number)
      return undefined
    } finally {
      reader.users--
      if (!reader.isKept) await closeUnused(reader)
      const [oldest] = this.#readers.keys()
      if (this.#readers.size > mostHandles && oldest !== undefined) await this.#letGo(oldest)
    }
  }

  async close(): Promise<void> {
    for (const number of [...this.#readers.keys()]) await this.#letGo(number)
  }

  async #letGo(number: number): Promise<void> {
    const reader = this.#readers.get(number)
    if (!reader) return
    this.#readers.delete(number)
    reader.isKept = false
    await closeUnused(reader)
  }
}

async function closeUnused({ handle, users }: Reader): Promise<void> {
  if (users > 0) return
  await handle.then(
    (opened) => opened.close(),
    // It never came to be open.
    () => {},
  )
}

/** On Linux a write can be durable when it ends: one way to the disk, where a write and a flush are two. */
const durableWrites = process.platform === 'linux' ? constants.O_DSYNC : 0

/** Opens the file of a segment for a tail, or makes it anew. */
export function openTail(path: string, anew: boolean): Promise<FileHandle> {
  const flags = constants.O_RDWR | durableWrites
  return anew ? makeOwnFile(path, flags) : openOwnFile(path, flags)
}

/** The segment that a journal grows in. */
export class JournalTail {
  readonly number: number
  readonly path: string
  readonly seed: number
  readonly #handle: FileHandle
  #bytes: number
  #isSound = true

  constructor(number: number, path: string, seed: number, handle: FileHandle, bytes: number) {
    this.number = number
    this.path = path
    this.seed = seed
    this.#handle = handle
    this.#bytes = bytes
  }

  /** Bytes that are there, all of them durable. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether more can be appended. After a flush that failed, by itself or in a write, nobody knows what pages are worth. */
  get isSound(): boolean {
    return this.#isSound
  }

  /**
   * Appends bytes: durable. After a rejection they are not there; if even that could not be had, `broken` is thrown in the
   * place of the fault.
   */
  async append(bytes: Buffer, broken: (cause: unknown) => OspError): Promise<void> {
    try {
      await this.#store(bytes, this.#bytes)
    } catch (error) {
      await this.#cutBack().catch((cause) => {
        throw broken(cause)
      })
      throw fault(error, `writing ${this.path}`)
    }
    this.#bytes += bytes.length
  }

  /** Writes the last bytes again, and makes all durable: a flush of an earlier process may have failed. */
  async renew(bytes: Buffer): Promise<void> {
    await this.#store(bytes, this.#bytes - bytes.length)
    // Where nothing follows the header, nothing was written.
    await this.#handle.datasync()
  }

  /** Cuts it to a length: durable. */
  async cut(length: number): Promise<void> {
    this.#bytes = length
    await this.#cutBack()
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }

  async #cutBack(): Promise<void> {
    await this.#handle.truncate(this.#bytes)
    await this.#handle.datasync()
  }

  /** Writes bytes: durable. */
  async #store(bytes: Buffer, at: number): Promise<void> {
    this.#isSound = false
    for (let done = 0; done < bytes.length; ) done += await this.#write(bytes.subarray(done), at + done)
    if (durableWrites === 0) await this.#handle.datasync()
    this.#isSound = true
  }

  /** Writes some of these bytes: resolves with how many. */
  async #write(bytes: Buffer, at: number): Promise<number> {
    try {
      const { bytesWritten } = await this.#handle.write(bytes, 0, bytes.length, at)
      if (bytesWritten > 0) return bytesWritten
    } catch (error) {
      // What finds no room is not written. A flush can fail for want of room too, but then the file has become longer.
      this.#isSound = isFull(error) && (await this.#handle.stat()).size === at
      throw error
    }
    throw new OspError('internal', `${this.path} takes no more bytes`)
  }
}
