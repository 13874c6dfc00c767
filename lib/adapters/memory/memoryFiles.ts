import { OspError } from '../../errors.ts'
import { checkStoredName } from '../../names.ts'
import type { Digests } from '../../ports/platform.ts'
import type {
  Claim,
  FileStore,
  NewTransfer,
  Orphan,
  PartialFile,
  Space,
  StoredFile,
  Usage,
} from '../../ports/storage.ts'
import { digestOf } from '../../runtime/digestOf.ts'
import { hex } from '../../runtime/hex.ts'
import { ancestorsOf, type RecordStore, recordKey, subjectOf } from '../../storage/transfers/recordStore.ts'
import { lostFile, type StoredNames } from '../../storage/transfers/storedNames.ts'
import { Blocks } from './blocks.ts'
import { SimulatedLatency } from './simulatedLatency.ts'

interface Published {
  readonly blocks: Blocks
  /** Another number for each file that was ever published. */
  readonly serial: number
  /** What was verified: size, modification time of the source and digest. */
  readonly verified: string | undefined
}

/** Partial and published files in memory. */
export class MemoryFiles implements FileStore, StoredNames {
  readonly foldsCase = false
  readonly #book: RecordStore
  readonly #capacity: number
  readonly #flushFails: () => boolean
  readonly #digests: () => Digests
  readonly #pace: SimulatedLatency
  readonly #partial = new Map<string, Blocks>()
  readonly #published = new Map<string, Map<string, Published>>()
  readonly #open = new Set<PartialFile>()
  /** Bytes of the published files of each user. */
  readonly #bytes = new Map<string, number>()
  #serial = 0

  constructor(
    book: RecordStore,
    capacity: number,
    flushFails: () => boolean,
    digests: () => Digests,
    pace = new SimulatedLatency(),
  ) {
    this.#book = book
    this.#capacity = capacity
    this.#flushFails = flushFails
    this.#digests = digests
    this.#pace = pace
  }

  async open(claim: Claim): Promise<PartialFile> {
    this.#book.checkOpen()
    const { user, name } = claim
    const key = recordKey(user, name)
    const guard = <T>(work: () => Promise<T>) => this.#book.fences.guard(claim, () => this.#pace.take(work))
    return guard(async () => {
      const verified = this.#book.record(user, name)?.verified !== undefined
      // A verified file that isn't there is published already: an empty one must not replace it.
      const blocks = this.#partial.get(key) ?? (verified ? undefined : new Blocks())
      if (blocks) this.#partial.set(key, blocks)
      const publish = async (to: string, replace: boolean) => this.#publish(claim, to, replace)
      const reserve = (bytes: number) => this.#reserve(bytes)
      const closed = (closed: PartialFile) => this.#open.delete(closed)
      const file = new MemoryPartialFile({ guard, publish, reserve, closed, flushFails: this.#flushFails }, blocks)
      this.#open.add(file)
      return file
    })
  }

  async remove(user: string, name: string): Promise<void> {
    this.#book.checkOpen()
    await this.dropPartial(user, name)
  }

  async stored(user: string, name: string): Promise<boolean> {
    this.#book.checkOpen()
    return this.#published.get(user)?.has(name) ?? false
  }

  async used(user: string, name?: string): Promise<number> {
    this.#book.checkOpen()
    if (name === undefined) return this.#bytes.get(user) ?? 0
    return this.#published.get(user)?.get(name)?.blocks.length ?? 0
  }

  async usage(user: string): Promise<Usage> {
    return { bytes: await this.used(user), files: this.#published.get(user)?.size ?? 0, folders: 0 }
  }

  async space(): Promise<Space> {
    this.#book.checkOpen()
    const total = this.#capacity
    return { free: total - (total === Number.POSITIVE_INFINITY ? 0 : this.#used()), total, blockBytes: 1 }
  }

  async heldBytes(user: string, name: string): Promise<number> {
    this.#book.checkOpen()
    return this.#partial.get(recordKey(user, name))?.length ?? 0
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const names = this.#published.get(user) ?? new Map<string, Published>()
    const ancestor = ancestorsOf(name).find((folder) => names.has(folder))
    return ancestor ?? Array.from(names.keys()).find((other) => other.startsWith(`${name}/`))
  }

  async stamp(user: string, name: string): Promise<string | undefined> {
    return this.#published.get(user)?.get(name)?.serial.toString()
  }

  async isIntact({ user, storedName, size, algorithm, digest }: StoredFile): Promise<boolean> {
    const blocks = this.#published.get(user)?.get(storedName)?.blocks
    if (blocks?.length !== size) return false
    const found = await digestOf(this.#digests(), algorithm, size, async (into, at) => blocks.read(into, at))
    return found !== undefined && hex(found) === digest
  }

  async partialBytes({ user, name, size }: NewTransfer): Promise<number> {
    const blocks = this.#partial.get(recordKey(user, name))
    if (!blocks || blocks.length > size) return 0
    blocks.flush()
    return blocks.length
  }

  /** Removes partial files without a record. Records in memory cannot be damaged, so these records were removed. */
  dropOrphans(): void {
    for (const key of this.#partial.keys()) {
      const { user, name } = subjectOf(key)
      if (!this.#book.record(user, name)) this.#partial.delete(key)
    }
  }

  /** Finds nothing: `dropOrphans` removes what a crash has left. */
  async sweep(): Promise<readonly Orphan[]> {
    this.#book.checkOpen()
    return []
  }

  async dropPartial(user: string, name: string): Promise<void> {
    this.#partial.delete(recordKey(user, name))
  }

  /** The bytes of a published file. */
  read(user: string, name: string): Uint8Array | undefined {
    const blocks = this.#published.get(user)?.get(name)?.blocks
    if (!blocks) return undefined
    const bytes = new Uint8Array(blocks.length)
    blocks.read(bytes, 0)
    return bytes
  }

  /** Removes a published file. */
  drop(user: string, name: string): void {
    this.#put(user, name, undefined)
  }

  /** Takes what another one has kept, of each file as many bytes as `left` says. */
  takeFrom(other: MemoryFiles, left: (blocks: Blocks) => number): void {
    for (const [key, blocks] of other.#partial) this.#partial.set(key, blocks.copy(left(blocks)))
    for (const [user, names] of other.#published) {
      for (const [name, { blocks, ...rest }] of names) {
        const bytes = left(blocks)
        // A published file does not change, so one that is whole needs no copy.
        this.#put(user, name, { blocks: bytes === blocks.length ? blocks : blocks.copy(bytes), ...rest })
      }
    }
    this.#serial = other.#serial
  }

  /** Closes every partial file that is still open. */
  async close(): Promise<void> {
    await Promise.all(Array.from(this.#open, (file) => file[Symbol.asyncDispose]()))
  }

  async #publish({ user, name }: Claim, storedName: string, replace: boolean): Promise<boolean> {
    const conflict = await this.conflict(user, checkStoredName(storedName))
    if (conflict !== undefined) throw new OspError('name-conflict', `${storedName} collides with ${conflict}`)
    const published = this.#published.get(user)
    const record = this.#book.record(user, name)
    const verified = record?.verified && `${record.size}:${record.modifiedAt}:${record.verified.digest}`
    const key = recordKey(user, name)
    const blocks = this.#partial.get(key)
    if (!blocks) {
      if (verified !== undefined && published?.get(storedName)?.verified === verified) return true
      throw lostFile(`the partial file of ${name} is missing, and ${storedName} is not the verified file`)
    }
    if (published?.has(storedName) && !replace) return false
    this.#put(user, storedName, { blocks, serial: ++this.#serial, verified })
    this.#partial.delete(key)
    return true
  }

  /** Puts a published file in place of an older one, or removes it. */
  #put(user: string, name: string, file: Published | undefined): void {
    const files = this.#published.get(user) ?? new Map<string, Published>()
    const growth = (file?.blocks.length ?? 0) - (files.get(name)?.blocks.length ?? 0)
    this.#bytes.set(user, (this.#bytes.get(user) ?? 0) + growth)
    this.#published.set(user, files)
    if (file) files.set(name, file)
    else files.delete(name)
  }

  #reserve(bytes: number): void {
    // Without a bound the sum isn't worth its time.
    if (this.#capacity !== Number.POSITIVE_INFINITY && bytes > this.#capacity - this.#used()) {
      throw new OspError('disk-full', `the ${this.#capacity} bytes of this storage are used up`)
    }
  }

  #used(): number {
    const published = Array.from(this.#published.values()).flatMap((files) => Array.from(files.values()))
    const blocks = [...this.#partial.values(), ...published.map((file) => file.blocks)]
    return blocks.reduce((sum, { length }) => sum + length, 0)
  }
}

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
class MemoryPartialFile implements PartialFile {
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
