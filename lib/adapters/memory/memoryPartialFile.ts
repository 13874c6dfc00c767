import { OspError } from '../../errors.ts'
import type { PartialFile } from '../../ports/storage.ts'
import type { Blocks } from './blocks.ts'

/** What a partial file needs from the store that opened it. */
export interface MemoryFileHost {
  /** Runs `work` if the storage is open and the claim still stands. */
  guard<T>(work: () => Promise<T>): Promise<T>
  /** Throws OspError `disk-full` if there is no room for so many more bytes. */
  reserve(bytes: number): void
  publish(storedName: string, replace: boolean): Promise<boolean>
  closed(file: PartialFile): void
  flushFails(): boolean
}

/** Bytes in memory. Without blocks it is a file that was published: publishing it again confirms that. */
export class MemoryPartialFile implements PartialFile {
  readonly #keeper: MemoryFileHost
  #blocks: Blocks | undefined
  #isClosed = false

  constructor(keeper: MemoryFileHost, blocks: Blocks | undefined) {
    this.#keeper = keeper
    this.#blocks = blocks
  }

  get length(): number {
    return this.#blocks?.length ?? 0
  }

  write(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.#guard(async () => {
      const blocks = this.#opened()
      if (offset > blocks.length) {
        throw new OspError('internal', `byte ${offset} lies beyond the ${blocks.length} that are there`)
      }
      let at = offset
      for (const part of parts) {
        this.#keeper.reserve(at + part.length - blocks.length)
        blocks.write(at, part)
        at += part.length
      }
    })
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    return this.#opened().read(into, offset)
  }

  flush(): Promise<void> {
    return this.#guard(async () => {
      if (this.#keeper.flushFails()) throw new OspError('internal', 'flushing the partial file failed')
      this.#blocks?.flush()
    })
  }

  truncate(length: number): Promise<void> {
    return this.#guard(async () => this.#opened().truncate(length))
  }

  publish(storedName: string, replace: boolean): Promise<boolean> {
    return this.#guard(async () => {
      const published = await this.#keeper.publish(storedName, replace)
      // They are the published file's now, which nobody may write to.
      if (published) this.#blocks = undefined
      return published
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#keeper.closed(this)
  }

  async #guard<T>(work: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    return this.#keeper.guard(work)
  }

  #opened(): Blocks {
    this.#checkOpen()
    if (!this.#blocks) throw new OspError('closed', 'the partial file was published already')
    return this.#blocks
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new OspError('closed', 'the partial file is closed')
  }
}
