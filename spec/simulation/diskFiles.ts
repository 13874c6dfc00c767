import { OspError } from '../../lib/errors.ts'
import type {
  Claim,
  FileStore,
  NewTransfer,
  Orphan,
  PartialFile,
  Space,
  StoredFile,
  UnnamedFile,
  Usage,
} from '../../lib/ports/storage.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { digestOf } from '../../lib/runtime/incrementalDigest.ts'
import { compareNames, FirstEntries, type StoredTree, type TreeEntry } from '../../lib/storage/catalogue/storedTree.ts'
import { ancestorsOf, type RecordStore, recordKey, subjectOf } from '../../lib/storage/transfers/recordStore.ts'
import type { StoredNames } from '../../lib/storage/transfers/storedNames.ts'
import type { PublishedImage, SimulatedDisk } from './disk.ts'
import { DiskPartialFile } from './diskPartialFile.ts'
import { joined, PartialImage } from './partialImage.ts'
import type { SimulatedProcess } from './process.ts'

/** Partial and published files on a simulated disk. Written bytes are durable only after a flush. */
export class DiskFiles implements FileStore, StoredNames {
  readonly foldsCase = false
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #book: RecordStore
  /** The files of this process that belong to no upload. */
  readonly #unnamed = new Set<string>()

  constructor(disk: SimulatedDisk, process: SimulatedProcess, book: RecordStore) {
    this.#disk = disk
    this.#process = process
    this.#book = book
  }

  /** The published files. */
  get tree(): StoredTree {
    const read = (user: string, name: string) => this.#disk.published.get(user)?.get(name)
    const entryOf = (name: string, image: PublishedImage): TreeEntry => {
      return { name, size: image.bytes.length, version: this.#disk.versionOf(image), modifiedAt: 0, storedAt: 0 }
    }
    return {
      list: (user, { prefix, after, most }) =>
        this.#take('time of a look', () => {
          const first = new FirstEntries<TreeEntry>(most)
          for (const [name, image] of this.#disk.published.get(user) ?? []) {
            if (name.startsWith(prefix) && compareNames(name, after) > 0) first.add(entryOf(name, image))
          }
          return { files: first.sorted(), more: first.isCut, looked: this.#disk.published.get(user)?.size ?? 0 }
        }),
      find: (user, name) =>
        this.#take('time of a look', () => {
          const image = read(user, name)
          return image && entryOf(name, image)
        }),
      key: async () => new Uint8Array(32),
      open: async (user, name) => {
        const image = await this.#take('time to open', () => read(user, name))
        if (!image) return undefined
        this.#process.handles++
        return {
          size: image.bytes.length,
          version: this.#disk.versionOf(image),
          read: (into, offset) =>
            this.#take('time of a read', () => {
              const piece = image.bytes.subarray(offset, offset + into.length)
              into.set(piece)
              return piece.length
            }),
          [Symbol.asyncDispose]: async () => {
            this.#process.handles--
          },
        }
      },
      unlink: ({ user, name }) => this.#take('time of a removal', () => this.#disk.unlink(user, name)),
      move: ({ user, name }, newName) =>
        this.#take('time of a rename', () => {
          const image = read(user, name)
          if (!image) throw new OspError('internal', 'the file is gone')
          this.#disk.put(user, newName, image, true)
          this.#disk.unlink(user, name)
        }),
    }
  }

  open(claim: Claim): Promise<PartialFile> {
    return this.#book.guard(claim, async () => {
      const verified = this.#book.log.record(claim.user, claim.name)?.verified !== undefined
      const key = recordKey(claim.user, claim.name)
      await this.#take('time to open', () => {
        if (!verified && !this.#disk.partial.has(key)) {
          this.#disk.partial.set(key, new PartialImage())
        }
      })
      return new DiskPartialFile(this.#disk, this.#process, this.#book, claim)
    })
  }

  async create(user: string, content: readonly Uint8Array[]): Promise<UnnamedFile> {
    this.#book.checkOpen()
    const version = `/${++this.#disk.creations}`
    const key = recordKey(user, version)
    this.#unnamed.add(key)
    const dispose = () =>
      this.#take('time of a removal', () => this.#unnamed.delete(key) && this.#disk.partial.delete(key))
    try {
      await this.#write(key, joined(content))
    } catch (error) {
      await dispose()
      throw error
    }
    const publish = (storedName: string, replace: boolean) => {
      this.#book.checkOpen()
      const begunAt = this.#disk.stored?.notices.nextMoment()
      return this.#take('time to publish', () => {
        const names = this.#disk.published.get(user) ?? new Map<string, PublishedImage>()
        const written = this.#disk.partial.get(key)?.written
        if (!written) throw new OspError('internal', 'the file was published already')
        if (names.has(storedName) && !replace) return false
        const serial = ++this.#disk.publications
        this.#disk.put(user, storedName, { bytes: written, serial, version, verified: undefined }, false, begunAt)
        return this.#disk.partial.delete(key)
      })
    }
    return {
      version,
      publish,
      [Symbol.asyncDispose]: async () => {
        await dispose()
      },
    }
  }

  /** Writes and flushes a file that belongs to no upload. */
  async #write(key: string, bytes: Uint8Array): Promise<void> {
    const { faults, partial } = this.#disk
    const image = new PartialImage()
    const process = this.#process
    // Its bits do not flip before it is published: it is not read again.
    image.openers.add({
      get open() {
        return process.alive
      },
    })
    const write = (length: number) => {
      partial.set(key, image)
      image.write(0, bytes.slice(0, length))
      image.writtenAt = this.#process.platform.clock.wallTime()
    }
    const fraction = () => this.#process.platform.random.fraction('bytes of a write that a kill has torn')
    await this.#process.effect(
      this.#disk.operationMs,
      'time of a write',
      () => {
        faults.reserve(bytes.length)
        faults.attempt('write', () => write(bytes.length))
      },
      () => write(fraction() * bytes.length),
    )
    const flush = () =>
      faults.attempt(
        'flush',
        () => image.flush(bytes),
        () => image.lose(),
      )
    await this.#take('time of a flush', flush)
  }

  remove(user: string, name: string): Promise<void> {
    return this.dropPartial(user, name)
  }

  stored(user: string, name: string): Promise<boolean> {
    return this.#take('time of a look', () => this.#disk.published.get(user)?.has(name) ?? false)
  }

  used(user: string, name?: string): Promise<number> {
    return this.#take('time of a count', () => {
      const files = Array.from(this.#disk.published.get(user) ?? [])
      return files.reduce(
        (sum, [other, { bytes }]) => sum + (name === undefined || name === other ? bytes.length : 0),
        0,
      )
    })
  }

  async usage(user: string): Promise<Usage> {
    return { bytes: await this.used(user), files: this.#disk.published.get(user)?.size ?? 0, folders: 0 }
  }

  async space(): Promise<Space> {
    return { free: this.#disk.faults.freeBytes, total: Number.POSITIVE_INFINITY, blockBytes: 1 }
  }

  async heldBytes(user: string, name: string): Promise<number> {
    return this.#disk.partial.get(recordKey(user, name))?.written.length ?? 0
  }

  async conflict(user: string, name: string): Promise<string | undefined> {
    const names = this.#disk.published.get(user) ?? new Map<string, PublishedImage>()
    const ancestor = ancestorsOf(name).find((folder) => names.has(folder))
    return ancestor ?? Array.from(names.keys()).find((other) => other.startsWith(`${name}/`))
  }

  async version(user: string, name: string): Promise<string | undefined> {
    const image = this.#disk.published.get(user)?.get(name)
    return image && this.#disk.versionOf(image)
  }

  async isIntact({ user, storedName, size, algorithm, digest }: StoredFile): Promise<boolean> {
    const bytes = this.#disk.published.get(user)?.get(storedName)?.bytes
    if (bytes?.length !== size) return false
    const read = async (into: Uint8Array, at: number) => {
      const piece = bytes.subarray(at, at + into.length)
      into.set(piece)
      return piece.length
    }
    const found = await digestOf(this.#process.platform.digests, algorithm, size, read)
    return found !== undefined && hex(found) === digest
  }

  async partialBytes({ user, name, size }: NewTransfer): Promise<number> {
    const image = this.#disk.partial.get(recordKey(user, name))
    const bytes = image?.written
    if (!image || !bytes || bytes.length > size) return 0
    await this.#take('time of a flush', () => image.flush(bytes))
    return bytes.length
  }

  async sweep(before: number): Promise<readonly Orphan[]> {
    return this.#take('time of a look', () =>
      Array.from(this.#disk.partial).flatMap(([key, { written, writtenAt }]) => {
        const { user, name } = subjectOf(key)
        if (this.#book.log.record(user, name) || this.#unnamed.has(key)) return []
        const isUnnamed = name.startsWith('/')
        const removed = isUnnamed || written.length === 0 || writtenAt < before
        if (removed) this.#disk.partial.delete(key)
        if (isUnnamed) return []
        return [{ file: key, bytes: written.length, removed }]
      }),
    )
  }

  async dropPartial(user: string, name: string): Promise<void> {
    await this.#take('time of a removal', () => this.#disk.partial.delete(recordKey(user, name)))
  }

  #take<T>(reason: string, effect: () => T): Promise<T> {
    return this.#process.effect(this.#disk.operationMs, reason, effect)
  }
}
