import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import { fault, isFull } from './faults.ts'
import { makeOwnFile, openOwnFile } from './ownFile.ts'

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
