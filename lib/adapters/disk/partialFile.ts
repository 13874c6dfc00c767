import type { FileHandle } from 'node:fs/promises'
import { OspError } from '../../errors.ts'
import type { PartialFile } from '../../ports/storage.ts'
import { syncDirectory } from './directories.ts'
import { attempt } from './faults.ts'
import type { Layout } from './layout.ts'

/** Most buffers that one writev(2) takes: IOV_MAX of Linux and the BSDs. */
const mostBuffers = 1_024

/** What a partial file needs from the store that opened it. */
export interface Keeper {
  readonly layout: Layout
  /** Runs `work` if the claim still stands. */
  guard<T>(work: () => Promise<T>): Promise<T>
  publish(storedName: string, replace: boolean): Promise<boolean>
  closed(file: PartialFile): void
}

/** A file in `partial`. Without a handle it is one that was moved into place before a crash. */
export class DiskPartialFile implements PartialFile {
  readonly #path: string
  readonly #keeper: Keeper
  #handle: FileHandle | undefined
  #length: number
  #entryDurable = false
  #isClosed = false

  constructor(path: string, keeper: Keeper, handle: FileHandle | undefined, length: number) {
    this.#path = path
    this.#keeper = keeper
    this.#handle = handle
    this.#length = length
  }

  get length(): number {
    return this.#length
  }

  write(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.#guard(`writing ${this.#path}`, async (handle) => {
      if (offset > this.#length) throw new Error(`byte ${offset} lies beyond the ${this.#length} that are there`)
      let at = offset
      for (let left = parts.filter((part) => part.length > 0); left.length > 0; ) {
        const { bytesWritten } = await handle.writev(left.slice(0, mostBuffers), at)
        if (bytesWritten === 0) throw new Error('the file system takes no bytes')
        at += bytesWritten
        this.#length = Math.max(this.#length, at)
        left = without(left, bytesWritten)
      }
    })
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    this.#checkOpen()
    return attempt(`reading ${this.#path}`, async () => {
      const handle = this.#opened()
      const wanted = Math.min(into.length, Math.max(0, this.#length - offset))
      let done = 0
      while (done < wanted) {
        const { bytesRead } = await handle.read(into, done, wanted - done, offset + done)
        if (bytesRead === 0) break
        done += bytesRead
      }
      return done
    })
  }

  flush(): Promise<void> {
    return this.#guard(`flushing ${this.#path}`, async (handle) => {
      await handle.datasync()
      if (!this.#entryDurable) await syncDirectory(this.#keeper.layout.partial)
      this.#entryDurable = true
    })
  }

  truncate(length: number): Promise<void> {
    return this.#guard(`truncating ${this.#path}`, async (handle) => {
      if (length >= this.#length) return
      await handle.truncate(length)
      this.#length = length
    })
  }

  async publish(storedName: string, replace: boolean): Promise<boolean> {
    this.#checkOpen()
    const published = await this.#keeper.guard(() => this.#keeper.publish(storedName, replace))
    // The handle leads to the published file now, which nobody may write to.
    if (published) await this[Symbol.asyncDispose]()
    return published
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    const handle = this.#handle
    this.#handle = undefined
    this.#keeper.closed(this)
    await attempt(`closing ${this.#path}`, async () => handle?.close())
  }

  #guard<T>(doing: string, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    return this.#keeper.guard(() => {
      this.#checkOpen()
      return attempt(doing, () => work(this.#opened()))
    })
  }

  #opened(): FileHandle {
    if (!this.#handle) throw new Error('it was published already')
    return this.#handle
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new OspError('closed', `the partial file ${this.#path} is closed`)
  }
}

/** The buffers that are left when `count` bytes of them are gone; the bytes are not copied. */
function without(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let rest = count
  const index = buffers.findIndex((buffer) => {
    if (rest < buffer.length) return true
    rest -= buffer.length
    return false
  })
  if (index < 0) return []
  const [first, ...others] = buffers.slice(index)
  return first ? [first.subarray(rest), ...others] : []
}
