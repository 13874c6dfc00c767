import type { FileHandle } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import { fault } from './faults.ts'

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

  /** Whether more can be appended. After a flush that failed nobody knows what the pages of a file are worth. */
  get isSound(): boolean {
    return this.#isSound
  }

  /**
   * Appends bytes: durable. After a rejection they are not there; if even that could not be had, `broken` is thrown in the
   * place of the fault.
   */
  async append(bytes: Buffer, broken: (cause: unknown) => OspError): Promise<void> {
    try {
      await this.#write(bytes, this.#bytes)
      this.#isSound = false
      await this.#handle.datasync()
      this.#isSound = true
    } catch (error) {
      await this.#cutBack().catch((cause) => {
        throw broken(cause)
      })
      throw fault(error, `writing ${this.path}`)
    }
    this.#bytes += bytes.length
  }

  /** Writes the last bytes again, and makes them durable: a flush of an earlier process may have failed. */
  async renew(bytes: Buffer): Promise<void> {
    await this.#write(bytes, this.#bytes - bytes.length)
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

  async #write(bytes: Buffer, at: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, at + done)
      if (bytesWritten === 0) throw new OspError('internal', `${this.path} takes no more bytes`)
      done += bytesWritten
    }
  }
}
