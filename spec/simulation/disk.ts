import { MemoryJournal } from '../../lib/adapters/memory/memoryJournal.ts'
import { fixed, KiB, MiB } from '../../lib/limits.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Storage, TransferRecord } from '../../lib/ports/storage.ts'
import { type FileRecords, MemoryFileRecords } from '../../lib/storage/catalogue/fileRecords.ts'
import { StoredCatalogue } from '../../lib/storage/catalogue/storedCatalogue.ts'
import type { Journal } from '../../lib/storage/journal/journal.ts'
import { Mailboxes } from '../../lib/storage/mailboxes/mailboxes.ts'
import { RecordStore } from '../../lib/storage/transfers/recordStore.ts'
import { readRow } from '../../lib/storage/transfers/rows.ts'
import { Transfers } from '../../lib/storage/transfers/transfers.ts'
import { UploadLog } from '../../lib/storage/transfers/uploadLog.ts'
import type { SeededRandom } from '../support/random.ts'
import { DiskFaults } from './diskFaults.ts'
import { DiskFiles } from './diskFiles.ts'
import { SimulatedJournal } from './journal.ts'
import { JournalRot, keyOfRow } from './journalRot.ts'
import type { OwnLayers } from './layers.ts'
import type { PartialImage } from './partialImage.ts'
import type { SimulatedProcess } from './process.ts'
import type { StoredFiles } from './storedFiles.ts'

/** A published file. `serial` is unique among all published files. */
export interface PublishedImage {
  readonly bytes: Uint8Array
  readonly serial: number
  /** Of a file that belonged to no upload; otherwise its serial. */
  readonly version?: string
  /** The verified upload: size, modification time of the source and digest. */
  readonly verified: string | undefined
}

/** Bytes appended to a partial file. */
export interface Appended {
  /** `recordKey` of its user and name. */
  readonly key: string
  readonly offset: number
  readonly bytes: Uint8Array
}

/** Small, so that records are spread over several segments. */
const uploadSegmentBytes = 2 * KiB

/** The contents of a simulated disk. It outlives the processes that use it. */
export class SimulatedDisk {
  /** Durable records of uploads by `recordKey`, regardless of bits that have flipped since. */
  readonly records = new Map<string, TransferRecord>()
  /** Records written since a watcher last read and emptied this set. */
  readonly recorded: TransferRecord[] = []
  readonly partial = new Map<string, PartialImage>()
  /** Keys of the partial files without a record since the latest process opened the disk. */
  readonly orphans = new Set<string>()
  /** By user, then by name. */
  readonly published = new Map<string, Map<string, PublishedImage>>()
  /** Number of files that belonged to no upload. */
  creations = 0
  /** Number of files that were moved into place. */
  publications = 0
  /** Set if programs use stored files. */
  stored: StoredFiles | undefined
  readonly #records = new MemoryFileRecords()
  /** The durable messages. */
  readonly journal: MemoryJournal
  /** The durable records of uploads. */
  readonly uploads = new MemoryJournal(uploadSegmentBytes)
  readonly faults: DiskFaults
  readonly rot = new JournalRot()
  /** Number of upload records that could not be read when the latest process opened them. */
  damagesAtOpening = 0
  layers: OwnLayers = {}
  /** Whether the next flush of messages fails. */
  flushFails = false
  /** Violations of the port by a process. */
  readonly violations: string[] = []
  /** Written bytes since a watcher last read and emptied this. */
  readonly appended: Appended[] = []
  /** Maximum time of an operation. */
  readonly operationMs: number
  readonly #segmentBytes: number | undefined

  /** Without `segmentBytes` no messages are sent, and checking them takes no time. */
  constructor(random: SeededRandom, operationMs: number, segmentBytes?: number) {
    this.faults = new DiskFaults(random)
    this.operationMs = operationMs
    this.#segmentBytes = segmentBytes
    this.journal = new MemoryJournal(segmentBytes ?? MiB)
  }

  /** The messages as a process sees them. */
  journalOf(process: SimulatedProcess): Journal {
    return this.#segmentBytes === undefined ? this.journal : new SimulatedJournal(this, process, 'messages')
  }

  /** Marks these rows as durable. */
  record(rows: readonly Buffer[]): void {
    for (const bytes of rows) {
      const row = readRow(bytes)
      if (!row) continue
      const key = keyOfRow(row)
      if (row.kind === 'record') {
        this.records.set(key, row.value)
        this.orphans.delete(key)
        this.recorded.push(row.value)
      } else if (row.kind === 'completed' || row.kind === 'removed') this.records.delete(key)
    }
  }

  /**
   * Opens the disk for a process. A partial file without a record remains if a crash happened between the removals of
   * both.
   */
  findOrphans(): void {
    this.orphans.clear()
    for (const key of this.partial.keys()) if (!this.records.has(key)) this.orphans.add(key)
  }

  /** The power fails. */
  crash(random: SeededRandom): void {
    for (const image of this.partial.values()) image.crash(random)
  }

  /** Moves a file into place, or gives it another name. `begunAt`: as in `Published`. */
  put(user: string, name: string, image: PublishedImage, isRenamed = false, begunAt?: number): void {
    const names = this.published.get(user) ?? new Map<string, PublishedImage>()
    this.published.set(user, names.set(name, image))
    this.stored?.put(user, name, image.bytes, this.versionOf(image), isRenamed, begunAt)
  }

  /** Returns a text that identifies the content of a published file. */
  versionOf({ version, serial }: PublishedImage): string {
    return version ?? serial.toString()
  }

  /** Removes a published file. */
  unlink(user: string, name: string): void {
    if (this.published.get(user)?.delete(name)) this.stored?.gone(user, name)
  }

  /** The durable records of stored files. */
  get fileRecords(): FileRecords | undefined {
    return this.stored && this.#records
  }

  /** Returns a published file, or `undefined`. */
  read(user: string, name: string): Uint8Array | undefined {
    return this.published.get(user)?.get(name)?.bytes
  }

  /** This disk as a process sees it. */
  storageOf(process: SimulatedProcess): Storage {
    const storage = new DiskOfProcess(this, process)
    return this.layers.storage?.(storage) ?? storage
  }
}

class DiskOfProcess implements Storage {
  readonly transfers: Transfers
  readonly files: DiskFiles
  readonly mailboxes = new Mailboxes()
  readonly catalogue?: StoredCatalogue
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #book = new RecordStore()

  constructor(disk: SimulatedDisk, process: SimulatedProcess) {
    this.#disk = disk
    this.#process = process
    this.files = new DiskFiles(disk, process, this.#book)
    const { platform } = process
    const records = disk.fileRecords
    this.transfers = new Transfers(this.#book, this.files, () => platform.clock.wallTime(), records)
    if (!records) return
    this.catalogue = new StoredCatalogue(this.files.tree, this.transfers, records, () => platform.digests)
  }

  async open(platform: Platform): Promise<void> {
    const journal = new SimulatedJournal(this.#disk, this.#process, 'uploads')
    const log = await UploadLog.open(journal, platform, fixed.notes)
    this.#disk.damagesAtOpening = log.damages.length
    await this.#book.open(log)
    this.#disk.findOrphans()
    await this.mailboxes.open(this.#disk.journalOf(this.#process), platform)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mailboxes.close()
    await this.#book.close()
  }
}
