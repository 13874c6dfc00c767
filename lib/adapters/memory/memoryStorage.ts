import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import { checkStoredName, checkUserName } from '../../names.ts'
import { checkOptions, type Kind, kinds, optional } from '../../options.ts'
import type { Platform, Random } from '../../ports/platform.ts'
import type { FileStore, Storage, TransferStore } from '../../ports/storage.ts'
import { Mailboxes } from '../../storage/mailboxes/mailboxes.ts'
import { RecordStore } from '../../storage/transfers/recordStore.ts'
import { Transfers } from '../../storage/transfers/transfers.ts'
import { UploadLog } from '../../storage/transfers/uploadLog.ts'
import type { Blocks } from './blocks.ts'
import { MemoryFiles } from './memoryFiles.ts'
import { MemoryJournal } from './memoryJournal.ts'
import { SimulatedLatency } from './simulatedLatency.ts'

/** Settings of a storage in memory. */
export interface MemoryOptions {
  /** Bytes of files, partial ones included, that it holds, and as many of messages; beyond that it is full. */
  readonly capacityBytes?: number
  /** Called at each flush of a partial file, of messages or of records. The flush fails if this returns true. */
  readonly flushFails?: () => boolean
  /**
   * Bytes after which the journals of messages and of uploads start another segment. Compaction drops whole segments.
   */
  readonly segmentBytes?: number
  /** The longest that anything durable takes, in ms of the platform that opens it; nothing unless told. */
  readonly operationMs?: number
}

/** A storage whose published files can be looked at, and whose crash can be tried. */
export interface MemoryStorage extends Storage {
  /** A copy of a published file's bytes, if there is one of this name; also while the storage is closed. */
  read(user: string, storedName: string): Uint8Array | undefined
  /** Removes a published file, as an operator does outside the server. */
  remove(user: string, storedName: string): void
  /**
   * What is left when its process is killed: another storage, not opened yet, and this one is of no use any more. With
   * `unflushed` the power has failed: it draws how many bytes are left that were not flushed.
   */
  crashed(unflushed?: Random): MemoryStorage
}

/** Everything in this process' memory. Closed and opened again it still has what was durable: as after a restart. */
export function memory(options: MemoryOptions = {}): MemoryStorage {
  checkOptions('memory', memoryOptions, options)
  return new InMemory(options)
}

const memoryOptions = {
  capacityBytes: optional(kinds.capacity),
  flushFails: optional(kinds.function),
  segmentBytes: optional(kinds.count),
  operationMs: optional(kinds.delay),
} as const satisfies { readonly [K in keyof MemoryOptions]-?: Kind }

class InMemory implements MemoryStorage {
  readonly transfers: TransferStore
  readonly files: FileStore
  readonly mailboxes = new Mailboxes()
  readonly #options: MemoryOptions
  readonly #pace: SimulatedLatency
  readonly #journal: MemoryJournal
  readonly #uploads: MemoryJournal
  readonly #book = new RecordStore()
  readonly #files: MemoryFiles
  #isOpen = false
  #platform: Platform | undefined

  /** `left`: with the records and messages of another one. */
  constructor(options: MemoryOptions, left?: InMemory) {
    const { capacityBytes = Number.POSITIVE_INFINITY, flushFails = () => false, segmentBytes = 16 * MiB } = options
    this.#options = options
    this.#pace = new SimulatedLatency(options.operationMs)
    const journal = (bytes: number) => new MemoryJournal(segmentBytes, bytes, flushFails, this.#pace)
    this.#uploads = left ? left.#uploads.copy(this.#pace) : journal(Number.POSITIVE_INFINITY)
    this.#journal = left ? left.#journal.copy(this.#pace) : journal(capacityBytes)
    this.#files = new MemoryFiles(this.#book, capacityBytes, flushFails, () => this.#opened.digests, this.#pace)
    this.files = this.#files
    this.transfers = new Transfers(this.#book, this.#files, () => this.#opened.clock.wallTime())
  }

  async open(platform: Platform): Promise<void> {
    if (this.#isOpen) throw new OspError('data-locked', 'this storage in memory is open already; close it first')
    this.#isOpen = true
    this.#pace.goBy(platform)
    this.#platform = platform
    const log = await UploadLog.open(this.#uploads, platform, fixed.notes)
    await this.#book.open(log)
    this.#files.dropOrphans()
    await this.mailboxes.open(this.#journal, platform)
  }

  read(user: string, storedName: string): Uint8Array | undefined {
    return this.#files.read(checkUserName(user), checkStoredName(storedName))
  }

  remove(user: string, storedName: string): void {
    this.#files.drop(checkUserName(user), checkStoredName(storedName))
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
    const closed = this.#book.close()
    await this.#files.close()
    await closed
    await this.mailboxes.close()
  }

  get #opened(): Platform {
    if (!this.#platform) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#platform
  }
}
