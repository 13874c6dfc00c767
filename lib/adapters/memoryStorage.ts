import { OspError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { checkFileName, checkUserName } from '../names.ts'
import type { Platform, Random } from '../ports/platform.ts'
import type { FileStore, Storage, TransferStore } from '../ports/storage.ts'
import { Mailboxes } from './mailboxes/mailboxes.ts'
import type { Blocks } from './memory/blocks.ts'
import { MemoryFiles } from './memory/memoryFiles.ts'
import { MemoryJournal } from './memory/memoryJournal.ts'
import { MemoryShelf } from './memory/memoryShelf.ts'
import { Pace } from './memory/pace.ts'
import { Book } from './records/book.ts'
import { recordKey } from './records/keys.ts'
import { Transfers } from './records/transfers.ts'

/** Settings of a storage in memory. */
export interface MemoryOptions {
  /** Bytes of files, partial ones included, that it holds, and as many of messages; beyond that it is full. */
  readonly capacityBytes?: number
  /** Asked at each flush of a partial file or of messages; if it says so the flush fails, as that of a broken disk does. */
  readonly flushFails?: () => boolean
  /** Bytes after which the journal of messages begins another segment. Segments are what is dropped when messages are gone. */
  readonly segmentBytes?: number
  /** The longest that anything durable takes, in ms of the platform that opens it; nothing unless told. */
  readonly operationMs?: number
}

/** A storage whose published files can be looked at, and whose crash can be tried. */
export interface MemoryStorage extends Storage {
  /** A copy of a published file's bytes, if there is one of this name; also while the storage is closed. */
  read(user: string, storedName: string): Uint8Array | undefined
  /**
   * What is left when its process is killed: another storage, not opened yet, and this one is of no use any more. With
   * `unflushed` the power has failed: it draws how many bytes are left that were not flushed.
   */
  crashed(unflushed?: Random): MemoryStorage
}

/** Everything in this process' memory. Closed and opened again it still has what was durable: as after a restart. */
export function memory(options: MemoryOptions = {}): MemoryStorage {
  return new InMemory(options)
}

class InMemory implements MemoryStorage {
  readonly transfers: TransferStore
  readonly files: FileStore
  readonly mailboxes = new Mailboxes()
  readonly #options: MemoryOptions
  readonly #pace: Pace
  readonly #journal: MemoryJournal
  readonly #shelf: MemoryShelf
  readonly #book = new Book()
  readonly #files: MemoryFiles
  #isOpen = false
  #wallTime: () => number = Date.now

  /** `left`: with the records and messages of another one. */
  constructor(options: MemoryOptions, left?: InMemory) {
    const { capacityBytes = Number.POSITIVE_INFINITY, flushFails = () => false, segmentBytes = 16 * MiB } = options
    this.#options = options
    this.#pace = new Pace(options.operationMs)
    this.#shelf = left ? left.#shelf.copy(this.#pace) : new MemoryShelf(this.#pace)
    this.#journal = left
      ? left.#journal.copy(this.#pace)
      : new MemoryJournal(segmentBytes, capacityBytes, flushFails, this.#pace)
    this.#files = new MemoryFiles(this.#book, capacityBytes, flushFails, this.#pace)
    this.files = this.#files
    this.transfers = new Transfers(this.#book, this.#files, () => this.#wallTime())
  }

  async open(platform: Platform): Promise<void> {
    if (this.#isOpen) throw new OspError('data-locked', 'this storage in memory is open already; close it first')
    this.#isOpen = true
    this.#pace.goBy(platform)
    this.#wallTime = () => platform.clock.wallTime()
    const wanted = new Set<string>()
    await this.#book.open(this.#shelf, ({ user, name }) => wanted.add(recordKey(user, name)))
    this.#files.keepOnly(wanted)
    await this.mailboxes.open(this.#journal, platform)
  }

  read(user: string, storedName: string): Uint8Array | undefined {
    return this.#files.read(checkUserName(user), checkFileName(storedName))
  }

  crashed(unflushed?: Random): MemoryStorage {
    const left = ({ durable, length }: Blocks) => {
      const fraction = unflushed?.fraction('unflushed bytes that are left') ?? 1
      return durable + Math.ceil(fraction * (length - durable))
    }
    const storage = new InMemory(this.#options, this)
    storage.#files.takeFrom(this.#files, left)
    return storage
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOpen = false
    this.#book.close()
    await this.#files.close()
    await this.mailboxes.close()
  }
}
