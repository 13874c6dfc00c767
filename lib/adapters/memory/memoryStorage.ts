import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import { checkStoredName, checkUserName } from '../../names.ts'
import { checkOptions, type Kind, kinds, optional } from '../../options.ts'
import type { Platform, Random } from '../../ports/platform.ts'
import type { Storage, TransferStore } from '../../ports/storage.ts'
import { MemoryFileRecords } from '../../storage/catalogue/fileRecords.ts'
import { StoredCatalogue } from '../../storage/catalogue/storedCatalogue.ts'
import { Mailboxes } from '../../storage/mailboxes/mailboxes.ts'
import { RecordStore } from '../../storage/transfers/recordStore.ts'
import { Transfers } from '../../storage/transfers/transfers.ts'
import { UploadLog } from '../../storage/transfers/uploadLog.ts'
import { type GrowingBytes, MemoryFiles } from './memoryFiles.ts'
import { MemoryJournal } from './memoryJournal.ts'
import { simulatedLatency } from './simulatedLatency.ts'

/** Settings of a storage in memory. */
export interface MemoryOptions {
  /** The maximum number of bytes of files, including partial ones, and of messages. A full storage refuses more. */
  readonly capacityBytes?: number
  /** Called at each flush of a partial file, of messages or of records. The flush fails if this returns true. */
  readonly flushFails?: () => boolean
  /** Bytes after which the journals of messages and of uploads start another segment. Compaction drops whole segments. */
  readonly segmentBytes?: number
  /** The maximum duration of a durable operation, in ms of the platform that opens the storage. Default: 0. */
  readonly operationMs?: number
}

/** A storage whose published files can be read, and that can simulate a crash. */
export interface MemoryStorage extends Storage {
  /** Returns a copy of a published file, if there is one of this name. Works while the storage is closed. */
  read(user: string, storedName: string): Uint8Array | undefined
  /** Removes a published file, as an operator does outside the server. */
  remove(user: string, storedName: string): void
  /**
   * Returns the data that survive a crash of the process, as another storage that is not open. This storage must not be
   * used any more. With `unflushed`, the power has failed, and that source determines how many unflushed bytes are left.
   */
  crashed(unflushed?: Random): MemoryStorage
}

/** Returns a storage in the memory of this process. Closed and opened again, it has all that was durable, as after a restart. */
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
  readonly files: MemoryFiles
  readonly mailboxes = new Mailboxes()
  readonly catalogue: StoredCatalogue
  readonly #options: MemoryOptions
  readonly journal: MemoryJournal
  readonly uploads: MemoryJournal
  readonly fileRecords: MemoryFileRecords
  readonly #records = new RecordStore()
  #isOpen = false
  #platform: Platform | undefined

  /** `left` is a storage whose records and messages are copied. */
  constructor(options: MemoryOptions, left?: InMemory) {
    const { capacityBytes: capacity = Number.POSITIVE_INFINITY, flushFails = () => false } = options
    const { segmentBytes = 16 * MiB, operationMs = 0 } = options
    this.#options = options
    const conditions = { capacity, flushFails, runDurable: simulatedLatency(operationMs, () => this.#opened) }
    const unlimited = { ...conditions, capacity: Number.POSITIVE_INFINITY }
    this.uploads = new MemoryJournal(segmentBytes, unlimited, left?.uploads)
    this.journal = new MemoryJournal(segmentBytes, conditions, left?.journal)
    const [digests, wallTime] = [() => this.#opened.digests, () => this.#opened.clock.wallTime()]
    this.files = new MemoryFiles(this.#records, digests, conditions, wallTime)
    this.fileRecords = new MemoryFileRecords(left?.fileRecords)
    const transfers = new Transfers(this.#records, this.files, wallTime, this.fileRecords)
    this.transfers = transfers
    this.catalogue = new StoredCatalogue(this.files.tree, transfers, this.fileRecords, digests)
  }

  async open(platform: Platform): Promise<void> {
    if (this.#isOpen) throw new OspError('data-locked', 'this in-memory storage is already open; close it first')
    this.#isOpen = true
    this.#platform = platform
    const log = await UploadLog.open(this.uploads, platform, fixed.notes)
    await this.#records.open(log)
    this.files.dropOrphans()
    await this.mailboxes.open(this.journal, platform)
  }

  read(user: string, storedName: string): Uint8Array | undefined {
    return this.files.read(checkUserName(user), checkStoredName(storedName))
  }

  remove(user: string, storedName: string): void {
    this.files.removePublished(checkUserName(user), checkStoredName(storedName))
  }

  crashed(unflushed?: Random): MemoryStorage {
    const left = ({ durable, length }: GrowingBytes) => {
      const fraction = unflushed?.fraction('unflushed bytes that are left') ?? 1
      return durable + Math.ceil(fraction * (length - durable))
    }
    const storage = new InMemory(this.#options, this)
    storage.files.copyFrom(this.files, left)
    return storage
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOpen = false
    const closed = this.#records.close()
    this.files.close()
    await closed
    await this.mailboxes.close()
  }

  get #opened(): Platform {
    if (!this.#platform) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#platform
  }
}
