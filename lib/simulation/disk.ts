import type { Journal } from '../adapters/mailboxes/journal.ts'
import { Mailboxes } from '../adapters/mailboxes/mailboxes.ts'
import { MemoryJournal } from '../adapters/memory/memoryJournal.ts'
import { compareKeys } from '../adapters/memory/memoryShelf.ts'
import { Book } from '../adapters/records/book.ts'
import { allRecords, recordKey } from '../adapters/records/keys.ts'
import type { Change, KeyRange, Shelf } from '../adapters/records/shelf.ts'
import { Transfers } from '../adapters/records/transfers.ts'
import { MiB } from '../limits.ts'
import type { Platform } from '../ports/platform.ts'
import type { Storage } from '../ports/storage.ts'
import { DiskFiles } from './diskFiles.ts'
import { DiskTroubles } from './diskTroubles.ts'
import { SimulatedJournal } from './journal.ts'
import { JournalRot } from './journalRot.ts'
import type { OwnLayers } from './layers.ts'
import type { PartialImage } from './partialImage.ts'
import type { SimulatedProcess } from './process.ts'
import type { SeededRandom } from './random.ts'

/** A published file; `serial` differs for each one that was ever published. */
export interface PublishedImage {
  readonly bytes: Uint8Array
  readonly serial: number
}

/** Bytes that were appended to a partial file. */
export interface Appended {
  /** `recordKey` of its user and name. */
  readonly key: string
  readonly offset: number
  readonly bytes: Uint8Array
}

/** What lies on a simulated disk. It outlives the processes that use it. */
export class SimulatedDisk {
  readonly texts = new Map<string, string>()
  readonly partial = new Map<string, PartialImage>()
  /** By user, then by name. */
  readonly published = new Map<string, Map<string, PublishedImage>>()
  /** How many files were ever moved into place. */
  publications = 0
  /** What is durable of the messages. */
  readonly journal: MemoryJournal
  readonly troubles: DiskTroubles
  readonly rot = new JournalRot()
  layers: OwnLayers = {}
  /** The next flush of messages fails. */
  flushFails = false
  /** What a process has done that no process may. */
  readonly faults: string[] = []
  /** Records that were written since somebody has looked at them. */
  readonly records: string[] = []
  /** What was written since somebody has looked at it, and emptied it. */
  readonly appended: Appended[] = []
  /** The longest that an operation takes. */
  readonly operationMs: number
  readonly #segmentBytes: number | undefined

  /** Without `segmentBytes` no messages are sent, and looking after them takes no time. */
  constructor(random: SeededRandom, operationMs: number, segmentBytes?: number) {
    this.troubles = new DiskTroubles(random)
    this.operationMs = operationMs
    this.#segmentBytes = segmentBytes
    this.journal = new MemoryJournal(segmentBytes ?? MiB, Number.POSITIVE_INFINITY, () => false)
  }

  /** The messages as a process sees them. */
  journalOf(process: SimulatedProcess): Journal {
    return this.#segmentBytes === undefined ? this.journal : new SimulatedJournal(this, process)
  }

  /** The power fails. */
  crash(random: SeededRandom): void {
    for (const image of this.partial.values()) image.crash(random)
  }

  /** A published file, or `undefined`. */
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
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess
  readonly #book = new Book()

  constructor(disk: SimulatedDisk, process: SimulatedProcess) {
    this.#disk = disk
    this.#process = process
    this.files = new DiskFiles(disk, process, this.#book)
    this.transfers = new Transfers(this.#book, this.files, () => process.platform.clock.wallTime())
  }

  async open(platform: Platform): Promise<void> {
    const wanted = new Set<string>()
    await this.#book.open(new DiskShelf(this.#disk, this.#process), ({ user, name }) =>
      wanted.add(recordKey(user, name)),
    )
    for (const key of this.#disk.partial.keys()) if (!wanted.has(key)) this.#disk.partial.delete(key)
    await this.mailboxes.open(this.#disk.journalOf(this.#process), platform)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mailboxes.close()
    this.#book.close()
  }
}

class DiskShelf implements Shelf {
  readonly #disk: SimulatedDisk
  readonly #process: SimulatedProcess

  constructor(disk: SimulatedDisk, process: SimulatedProcess) {
    this.#disk = disk
    this.#process = process
  }

  get(key: string): Promise<string | undefined> {
    return this.#look('time of a look-up', (texts) => texts.get(key))
  }

  async write(changes: readonly Change[]): Promise<void> {
    const { texts, records, troubles, operationMs } = this.#disk
    const write = () => {
      for (const { key, value } of changes) {
        if (value === undefined) texts.delete(key)
        else {
          texts.set(key, value)
          if (key.startsWith(allRecords.from)) records.push(value)
        }
      }
    }
    await this.#process.effect(operationMs, 'time of a durable write', () => {
      troubles.reserve(1)
      // What fails may have been done.
      troubles.attempt('record', write, write)
    })
  }

  async *entries({ from, below, limit }: KeyRange): AsyncIterable<readonly [string, string]> {
    const all = await this.#look('time of a scan', (texts) => [...texts])
    const within = all.filter(([key]) => compareKeys(key, from) >= 0 && compareKeys(key, below) < 0)
    yield* within.sort(([a], [b]) => compareKeys(a, b)).slice(0, limit)
  }

  #look<T>(reason: string, look: (texts: ReadonlyMap<string, string>) => T): Promise<T> {
    const { texts, troubles, operationMs } = this.#disk
    return this.#process.effect(operationMs, reason, () => troubles.attempt('look', () => look(texts)))
  }
}
