import { OspError } from '../../../lib/errors.ts'
import type { PartialFile } from '../../../lib/ports/storage.ts'
import { joined } from '../partialImage.ts'
import type { TreeFile } from './sharedTree.ts'

/** The functions of the files of a server that a partial file needs. */
interface TreePartialFileHost {
  /** Runs `work` if the claim is valid. */
  guard<T>(work: () => Promise<T>): Promise<T>
  /** Resolves with the result of `effect` after a while. If the process is killed before, `partly` runs instead. */
  take<T>(reason: string, effect: () => T, partly?: () => unknown): Promise<T>
  fraction(reason: string): number
  truncate(file: TreeFile, length: number): void
  write(file: TreeFile, offset: number, bytes: Uint8Array): void
  publish(storedName: string, replace: boolean): Promise<boolean>
  closed(file: TreePartialFile): void
}

/** A partial file of a shared tree that a process has open. Without a file it has already been published. */
export class TreePartialFile implements PartialFile {
  length: number
  #file: TreeFile | undefined
  readonly #host: TreePartialFileHost
  #isClosed = false

  constructor(file: TreeFile | undefined, host: TreePartialFileHost) {
    this.#file = file
    this.#host = host
    this.length = file?.bytes.length ?? 0
  }

  write(offset: number, parts: readonly Uint8Array[]): Promise<void> {
    const bytes = joined(parts)
    return this.#guard(async () => {
      const file = this.#opened()
      const write = (length: number) => this.#host.write(file, offset, bytes.slice(0, length))
      await this.#host.take(
        'time of a write',
        () => write(bytes.length),
        () => write(Math.floor(this.#host.fraction('bytes of a write that a kill has torn') * bytes.length)),
      )
      this.length = Math.max(this.length, offset + bytes.length)
    })
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    const file = this.#opened()
    return this.#host.take('time of a read', () => {
      const piece = file.bytes.subarray(offset, Math.min(this.length, offset + into.length))
      into.set(piece)
      return piece.length
    })
  }

  flush(): Promise<void> {
    return this.#guard(async () => {
      await this.#host.take('time of a flush', () => this.#file?.flush())
    })
  }

  truncate(length: number): Promise<void> {
    return this.#guard(async () => {
      const file = this.#opened()
      if (length >= this.length) return
      await this.#host.take('time to truncate', () => this.#host.truncate(file, length))
      this.length = length
    })
  }

  publish(storedName: string, replace: boolean): Promise<boolean> {
    return this.#guard(async () => {
      const isPublished = await this.#host.publish(storedName, replace)
      // The published file must not be written to.
      if (isPublished) this.#file = undefined
      return isPublished
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#file = undefined
    this.#host.closed(this)
  }

  async #guard<T>(work: () => Promise<T>): Promise<T> {
    this.#checkOpen()
    return this.#host.guard(work)
  }

  #opened(): TreeFile {
    this.#checkOpen()
    if (!this.#file) throw new OspError('closed', 'the partial file has already been published')
    return this.#file
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new OspError('closed', 'the partial file is closed')
  }
}
