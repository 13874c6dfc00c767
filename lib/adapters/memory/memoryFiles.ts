import { OspError } from '../../errors.ts'
import { KiB } from '../../limits.ts'
import { checkStoredName } from '../../names.ts'
import type { Digests } from '../../ports/platform.ts'
import type {
  Claim,
  FileStore,
  NewTransfer,
  PartialFile,
  Space,
  StoredFile,
  UnnamedFile,
  Usage,
} from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import { compareNames, FirstEntries, type StoredTree, type TreeEntry } from '../../storage/catalogue/storedTree.ts'
import { conflictingName, nameConflict } from '../../storage/transfers/claimRules.ts'
import { ancestorsOf, type ClaimGuard, recordKey, subjectOf } from '../../storage/transfers/recordStore.ts'
import { lostFile, type StoredNames } from '../../storage/transfers/storedNames.ts'
import { idealConditions, type MemoryConditions } from './simulatedLatency.ts'

/** Bytes that can grow, and how many of them are durable. */
export class GrowingBytes {
  length = 0
  /** The number of leading bytes that survive a power failure. */
  durable = 0
  #bytes = new Uint8Array(0)

  flush(): void {
    this.durable = this.length
  }

  /** Returns a copy of the first `length` bytes, which counts as flushed. */
  copy(length: number): GrowingBytes {
    const copy = new GrowingBytes()
    copy.write(0, this.#bytes.subarray(0, length))
    copy.flush()
    return copy
  }

  /** Copies `bytes` to `offset`, which must not exceed `length`. */
  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(2 * this.#bytes.length, end, 4 * KiB))
      grown.set(this.#bytes)
      this.#bytes = grown
    }
    this.#bytes.set(bytes, offset)
    this.length = Math.max(this.length, end)
    this.durable = Math.min(this.durable, offset)
  }

  /** Copies the bytes at `offset` to `into`. Returns the number of copied bytes. */
  read(into: Uint8Array, offset: number): number {
    const part = this.#bytes.subarray(offset, Math.min(this.length, offset + into.length))
    into.set(part)
    return part.length
  }

  truncate(length: number): void {
    this.length = Math.min(this.length, length)
    this.durable = Math.min(this.durable, length)
  }
}

interface Published {
  readonly content: GrowingBytes
  /** Different for each published file. */
  readonly version: string
  /** Size, modification time of the source and digest of the verified upload. */
  readonly verified: string | undefined
  readonly modifiedAt: number
  readonly storedAt: number
}

/** Partial and published files in memory. */
export class MemoryFiles implements FileStore, StoredNames {
  readonly foldsCase = false
  readonly #records: ClaimGuard
  readonly #digests: () => Digests
  readonly #conditions: MemoryConditions
  #key: Uint8Array = crypto.getRandomValues(new Uint8Array(32))
  readonly #wallTime: () => number
  readonly #partial = new Map<string, GrowingBytes>()
  readonly #published = new Map<string, Map<string, Published>>()
  /** Bytes of the published files by user. */
  readonly #bytes = new Map<string, number>()
  #serial = 0
  /** The number of files that belonged to no upload. */
  #created = 0
  /** Partial files that were opened before the last closing stay closed. */
  #closings = 0

  constructor(
    records: ClaimGuard,
    digests: () => Digests,
    conditions: Partial<MemoryConditions> = {},
    wallTime: () => number = () => 0,
  ) {
    this.#records = records
    this.#digests = digests
    this.#conditions = { ...idealConditions, ...conditions }
    this.#wallTime = wallTime
  }

  async open(claim: Claim): Promise<PartialFile> {
    this.#records.checkOpen()
    const { user, name } = claim
    const key = recordKey(user, name)
    return this.#guard(claim, () => {
      const verified = this.#records.record(user, name)?.verified !== undefined
      // The missing file of a verified upload has already been published. An empty file must not replace it.
      const content = this.#partial.get(key) ?? (verified ? undefined : new GrowingBytes())
      if (content) this.#partial.set(key, content)
      return this.#partialFile(claim, content)
    })
  }

  async create(user: string, parts: readonly Uint8Array[], modifiedAt = 0): Promise<UnnamedFile> {
    this.#records.checkOpen()
    // No upload has such a name.
    const version = `/${++this.#created}`
    const subject = { user, name: version }
    const content = new GrowingBytes()
    const { runDurable, flushFails } = this.#conditions
    this.#partial.set(recordKey(user, subject.name), content)
    const dispose = () => this.dropPartial(user, subject.name)
    try {
      await runDurable(() => {
        this.#write(content, 0, parts)
        if (flushFails()) throw new OspError('internal', 'flushing the file failed')
        content.flush()
      })
    } catch (error) {
      await dispose()
      throw error
    }
    const publish: UnnamedFile['publish'] = (storedName, replace) => {
      this.#records.checkOpen()
      return runDurable(() => this.#publish(subject, storedName, replace, modifiedAt))
    }
    return { version, publish, [Symbol.asyncDispose]: dispose }
  }

  async remove(user: string, name: string): Promise<void> {
    this.#records.checkOpen()
    await this.dropPartial(user, name)
  }

  async stored(user: string, name: string): Promise<boolean> {
    this.#records.checkOpen()
    return this.#published.get(user)?.has(name) ?? false
  }

  async used(user: string, name?: string): Promise<number> {
    this.#records.checkOpen()
    if (name === undefined) return this.#bytes.get(user) ?? 0
    return this.#published.get(user)?.get(name)?.content.length ?? 0
  }

  async usage(user: string): Promise<Usage> {
    return { bytes: await this.used(user), files: this.#published.get(user)?.size ?? 0, folders: 0 }
  }

  async space(): Promise<Space> {
    this.#records.checkOpen()
    const { capacity: total } = this.#conditions
    return { free: total - this.#used(), total, blockBytes: 1 }
  }

  async heldBytes(user: string, name: string): Promise<number> {
    this.#records.checkOpen()
    return this.#partial.get(recordKey(user, name))?.length ?? 0
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const names = this.#published.get(user) ?? new Map<string, Published>()
    const ancestor = ancestorsOf(name).find((folder) => names.has(folder))
    return ancestor ?? Array.from(names.keys()).find((other) => other.startsWith(`${name}/`))
  }

  async version(user: string, name: string): Promise<string | undefined> {
    return this.#published.get(user)?.get(name)?.version
  }

  async isIntact({ user, storedName, size, algorithm, digest }: StoredFile): Promise<boolean> {
    const content = this.#published.get(user)?.get(storedName)?.content
    if (content?.length !== size) return false
    const found = await digestOf(this.#digests(), algorithm, size, async (into, at) => content.read(into, at))
    return found !== undefined && hex(found) === digest
  }

  async partialBytes({ user, name, size }: NewTransfer): Promise<number> {
    const content = this.#partial.get(recordKey(user, name))
    if (!content || content.length > size) return 0
    content.flush()
    return content.length
  }

  /** Removes partial files without a record. Records in memory cannot be damaged, so these records were removed. */
  dropOrphans(): void {
    for (const key of this.#partial.keys()) {
      const { user, name } = subjectOf(key)
      if (!this.#records.record(user, name)) this.#partial.delete(key)
    }
  }

  /** Finds nothing, since `dropOrphans` removes the orphans of a crash. */
  async sweep(): Promise<readonly []> {
    this.#records.checkOpen()
    return []
  }

  async dropPartial(user: string, name: string): Promise<void> {
    this.#partial.delete(recordKey(user, name))
  }

  read(user: string, name: string): Uint8Array | undefined {
    const content = this.#published.get(user)?.get(name)?.content
    if (!content) return undefined
    const bytes = new Uint8Array(content.length)
    content.read(bytes, 0)
    return bytes
  }

  removePublished(user: string, name: string): void {
    this.#put(user, name, undefined)
  }

  /** The published files. */
  get tree(): StoredTree {
    const filesOf = (user: string) => {
      this.#records.checkOpen()
      return this.#published.get(user) ?? new Map<string, Published>()
    }
    const entryOf = (name: string, { content, version, modifiedAt, storedAt }: Published): TreeEntry => {
      return { name, size: content.length, version, modifiedAt, storedAt }
    }
    const { runDurable } = this.#conditions
    return {
      list: async (user, { prefix, after, most }) => {
        const first = new FirstEntries<TreeEntry>(most)
        const files = filesOf(user)
        for (const [name, file] of files) {
          if (name.startsWith(prefix) && compareNames(name, after) > 0) first.add(entryOf(name, file))
        }
        return { files: first.sorted(), more: first.isCut, looked: files.size }
      },
      find: async (user, name) => {
        const file = filesOf(user).get(name)
        return file && entryOf(name, file)
      },
      open: async (user, name) => {
        const file = filesOf(user).get(name)
        if (!file) return undefined
        const { content, version } = file
        const read = async (into: Uint8Array, offset: number) => content.read(into, offset)
        return { size: content.length, version, read, [Symbol.asyncDispose]: async () => {} }
      },
      key: async () => this.#key,
      unlink: ({ user, name }) => runDurable(() => this.#put(user, name, undefined)),
      move: ({ user, name }, newName) =>
        runDurable(async () => {
          const file = filesOf(user).get(name)
          const others = [...filesOf(user).keys()].filter((other) => other !== name)
          const conflict = conflictingName(others, newName, false)
          if (conflict !== undefined) throw nameConflict(newName, conflict)
          this.#put(user, name, undefined)
          this.#put(user, newName, file)
        }),
    }
  }

  /** Copies the files of another store. `left` returns the number of bytes to keep of each. */
  copyFrom(other: MemoryFiles, left: (content: GrowingBytes) => number): void {
    for (const [key, content] of other.#partial) this.#partial.set(key, content.copy(left(content)))
    for (const [user, names] of other.#published) {
      for (const [name, { content, ...rest }] of names) {
        const bytes = left(content)
        // A whole file needs no copy, since published files do not change.
        this.#put(user, name, { content: bytes === content.length ? content : content.copy(bytes), ...rest })
      }
    }
    this.#serial = other.#serial
    this.#key = other.#key
    this.#created = other.#created
  }

  /** Closes every partial file that is still open. */
  close(): void {
    this.#closings++
  }

  #guard<T>(claim: Claim, work: () => T | Promise<T>): Promise<T> {
    return this.#records.guard(claim, () => this.#conditions.runDurable(work))
  }

  /** Without `written`, the file has already been published, and publishing it again confirms that. */
  #partialFile(claim: Claim, written: GrowingBytes | undefined): PartialFile {
    let content = written
    let openedAt = this.#closings
    const isClosed = () => openedAt !== this.#closings
    const opened = () => {
      if (isClosed() || !content)
        throw new OspError('closed', 'the partial file is closed or has already been published')
      return content
    }
    const guard = async <T>(work: () => T | Promise<T>) => {
      if (isClosed()) throw new OspError('closed', 'the partial file is closed')
      return this.#guard(claim, work)
    }
    return {
      get length() {
        return content?.length ?? 0
      },
      write: (offset, parts) => guard(() => this.#write(opened(), offset, parts)),
      read: async (into, offset) => opened().read(into, offset),
      flush: () =>
        guard(() => {
          if (this.#conditions.flushFails()) throw new OspError('internal', 'flushing the partial file failed')
          content?.flush()
        }),
      truncate: (length) => guard(() => opened().truncate(length)),
      publish: (storedName, replace) =>
        guard(async () => {
          const isPublished = await this.#publish(claim, storedName, replace)
          // The content now belongs to the published file, which must not be written to.
          if (isPublished) content = undefined
          return isPublished
        }),
      [Symbol.asyncDispose]: async () => {
        openedAt = -1
      },
    }
  }

  #write(content: GrowingBytes, offset: number, parts: readonly Uint8Array[]): void {
    if (offset > content.length) throw new OspError('internal', `byte ${offset} is beyond the end at ${content.length}`)
    let at = offset
    for (const part of parts) {
      this.#reserve(at + part.length - content.length)
      content.write(at, part)
      at += part.length
    }
  }

  async #publish(
    { user, name }: Pick<Claim, 'user' | 'name'>,
    storedName: string,
    replace: boolean,
    modifiedAt = 0,
  ): Promise<boolean> {
    const conflict = await this.conflict(user, checkStoredName(storedName))
    if (conflict !== undefined) throw new OspError('name-conflict', `${storedName} collides with ${conflict}`)
    const published = this.#published.get(user)
    const record = this.#records.record(user, name)
    const verified = record?.verified && `${record.size}:${record.modifiedAt}:${record.verified.digest}`
    const key = recordKey(user, name)
    const content = this.#partial.get(key)
    if (!content) {
      if (verified !== undefined && published?.get(storedName)?.verified === verified) return true
      throw lostFile(`the partial file of ${name} is missing, and ${storedName} is not the verified file`)
    }
    if (published?.has(storedName) && !replace) return false
    // The name of an unnamed file is its version.
    const version = record ? `${++this.#serial}` : name
    const times = { modifiedAt: record?.modifiedAt ?? modifiedAt, storedAt: this.#wallTime() }
    this.#put(user, storedName, { content, version, verified, ...times })
    this.#partial.delete(key)
    return true
  }

  #put(user: string, name: string, file: Published | undefined): void {
    const files = this.#published.get(user) ?? new Map<string, Published>()
    const growth = (file?.content.length ?? 0) - (files.get(name)?.content.length ?? 0)
    this.#bytes.set(user, (this.#bytes.get(user) ?? 0) + growth)
    this.#published.set(user, files)
    if (file) files.set(name, file)
    else files.delete(name)
  }

  #reserve(bytes: number): void {
    const { capacity } = this.#conditions
    // Computing the sum takes long, and is useless without a limit.
    if (capacity !== Number.POSITIVE_INFINITY && bytes > capacity - this.#used()) {
      throw new OspError('disk-full', `the ${capacity} bytes of this storage are used up`)
    }
  }

  #used(): number {
    let sum = 0
    for (const bytes of this.#bytes.values()) sum += bytes
    for (const { length } of this.#partial.values()) sum += length
    return sum
  }
}
