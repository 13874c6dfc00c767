import { type BigIntStats, fdatasync, futimes } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { promisify } from 'node:util'
import { OspError } from '../../errors.ts'
import type { PartialFile } from '../../ports/storage.ts'
import type { MaybePromise } from '../../runtime/settled.ts'
import { attempt } from './faults.ts'
import { durableWrites, newFileFlags, quickCalls } from './quickCalls.ts'
import { readFull } from './readFull.ts'

/** The maximum number of buffers of one writev(2): IOV_MAX of Linux and the BSDs. */
const mostBuffers = 1_024

/** The functions of the store that a partial file needs. */
export interface PartialFileHost {
  /** Runs `work` if the claim is valid. */
  guard<T>(work: () => Promise<T>): Promise<T>
  /** Resolves when bytes may be written to the disk. */
  ready(): Promise<void>
  /** Makes the entries of the directory of the file durable. */
  flushDirectory(): Promise<void>
  publish(storedName: string, replace: boolean): Promise<boolean>
  closed(file: PartialFile): void
}

/** A file in `partial`. Without a handle it has already been published, and publishing it again confirms that. */
export class DiskPartialFile implements PartialFile {
  readonly #path: string
  readonly #host: PartialFileHost
  #handle: FileHandle | undefined
  length: number
  #entryDurable = false
  #isClosed = false

  constructor(path: string, host: PartialFileHost, handle: FileHandle | undefined, length: number) {
    this.#path = path
    this.#host = host
    this.#handle = handle
    this.length = length
  }

  write(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.#guard(`writing ${this.#path}`, async () => {
      await this.#host.ready()
      const handle = this.#opened()
      if (offset > this.length) throw new Error(`byte ${offset} is beyond the end at ${this.length}`)
      try {
        this.length = Math.max(
          this.length,
          await writeAll(async (next, at) => (await handle.writev(next, at)).bytesWritten, offset, parts),
        )
      } catch (error) {
        // Frees the space for records and other uploads. If this fails too, the next opening cuts the file.
        await handle.truncate(this.length).catch(() => {})
        throw error
      }
    })
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    this.#checkOpen()
    return attempt(`reading ${this.#path}`, async () => {
      const handle = this.#opened()
      return await readFull(handle, into.subarray(0, Math.max(0, this.length - offset)), offset)
    })
  }

  flush(): Promise<void> {
    return this.#guard(`flushing ${this.#path}`, async () => {
      // A published file was flushed before.
      if (!this.#handle) return
      await this.#host.ready()
      const entry = this.#entryDurable ? undefined : this.#host.flushDirectory()
      // Waits for both, since the handle may be closed afterwards.
      const flushes = await Promise.allSettled([this.#opened().datasync(), entry])
      for (const flush of flushes) if (flush.status === 'rejected') throw flush.reason
      this.#entryDurable = true
    })
  }

  truncate(length: number): Promise<void> {
    return this.#guard(`truncating ${this.#path}`, async () => {
      const handle = this.#opened()
      if (length >= this.length) return
      await handle.truncate(length)
      this.length = length
    })
  }

  async publish(storedName: string, replace: boolean): Promise<boolean> {
    return this.#guard(`publishing ${this.#path}`, async () => {
      const published = await this.#host.publish(storedName, replace)
      // The handle now leads to the published file, which must not be written to.
      if (published) await this.#letGo()
      return published
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#host.closed(this)
    await this.#letGo()
  }

  async #letGo(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await attempt(`closing ${this.#path}`, async () => handle?.close())
  }

  async #guard<T>(doing: string, work: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    return this.#host.guard(() => attempt(doing, work))
  }

  #opened(): FileHandle {
    this.#checkOpen()
    if (!this.#handle) throw new OspError('closed', `the partial file ${this.#path} has already been published`)
    return this.#handle
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new OspError('closed', `the partial file ${this.#path} is closed`)
  }
}

/**
 * Writes a new file, durably except for its name. Its modification time is `modified` (in seconds), if that is given. Returns its
 * stats. Fails if the file exists.
 */
export function writeNewFile(
  path: string,
  content: readonly Uint8Array[],
  modified?: number,
): MaybePromise<BigIntStats> {
  return quickCalls.create(path, content, modified, () => writeNewFileStepwise(path, content, modified))
}

async function writeNewFileStepwise(
  path: string,
  content: readonly Uint8Array[],
  modified: number | undefined,
): Promise<BigIntStats> {
  const fd = await quickCalls.open(path, newFileFlags, 0o600)
  try {
    await writeDurably(fd, content, 0)
    if (modified !== undefined) await setTimes(fd, modified, modified)
    return await quickCalls.fstat(fd)
  } finally {
    await quickCalls.close(fd)
  }
}

const flushData = promisify(fdatasync)
const setTimes = promisify(futimes)

/** Writes `parts` durably to a file opened with `durableWrites`: at `offset`, or at the end of a file opened for appending. */
export async function writeDurably(fd: number, parts: readonly Uint8Array[], offset?: number): Promise<void> {
  const position = (at: number) => (offset === undefined ? undefined : at)
  await writeAll((left, at) => quickCalls.write(fd, left, position(at)), offset ?? 0, parts)
  if (durableWrites === 0) await flushData(fd)
}

/** Writes `parts` from `offset` on with `write`, which returns the number of bytes written. Resolves with the end offset. */
async function writeAll(
  write: (parts: readonly Uint8Array[], at: number) => number | Promise<number>,
  offset: number,
  parts: readonly Uint8Array[],
): Promise<number> {
  let at = offset
  for (let left = parts.filter((part) => part.length > 0); left.length > 0; ) {
    const bytesWritten = await write(left.slice(0, mostBuffers), at)
    if (bytesWritten === 0) throw new Error('the file system wrote no bytes')
    at += bytesWritten
    left = without(left, bytesWritten)
  }
  return at
}

/** Returns the rest of the buffers without the first `count` bytes. The bytes are not copied. */
function without(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  let rest = count
  return buffers.flatMap((buffer) => {
    const skipped = Math.min(rest, buffer.length)
    rest -= skipped
    return skipped < buffer.length ? [buffer.subarray(skipped)] : []
  })
}
