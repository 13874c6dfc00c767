import { crc32 } from 'node:zlib'
import type { MailboxStore } from '../../lib/ports/mailboxes.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { SentFile, Storage } from '../../lib/ports/storage.ts'
import { recordKey, subjectOf } from '../../lib/storage/transfers/recordStore.ts'
import type { Bounds } from './bounds.ts'
import { type SimulatedFile, sameBytes } from './files.ts'
import type { Invariants } from './invariants.ts'
import type { MortalPlace } from './mortalPlace.ts'
import { type Machine, SimulatedProcess } from './process.ts'
import { PromisedRecords } from './promisedRecords.ts'
import type { Trace } from './trace.ts'
import { watchedFiles } from './watchedFiles.ts'

/** The parts of a world that a custom storage is checked against. */
interface PlaceParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly bounds: Bounds
  readonly invariants: Invariants
}

/** Checks a storage that does not use the simulated disk: through its port, and by its published files. */
export class PlaceWatch {
  /** Number of published files. */
  publications = 0
  readonly records: PromisedRecords
  readonly #parts: PlaceParts
  readonly #place: MortalPlace
  /** Bytes of published files, by user and then by name. */
  readonly #published = new Map<string, Map<string, Uint8Array>>()
  /** `recordKey` of the user and stored name of files that are being published: after a kill they may exist or not. */
  readonly #publishing = new Set<string>()

  constructor(parts: PlaceParts, place: MortalPlace) {
    this.records = new PromisedRecords(parts)
    this.#parts = parts
    this.#place = place
  }

  /** Returns its storage for a run of the server. */
  storageOf(process: SimulatedProcess): Storage {
    return watchedFiles(this.#place.storage(), process, this.#parts.invariants, this)
  }

  /** The server was killed. */
  killed(power: boolean): void {
    this.#place.killed(power)
  }

  /** The storage was opened: what it has reported as durable exists. */
  async opened(storage: Storage): Promise<void> {
    await this.records.opened(storage)
    for (const [user, names] of this.#published) {
      for (const [name, bytes] of names) await this.#stillThere(user, name, bytes)
    }
    for (const key of this.#publishing) {
      const { user, name } = subjectOf(key)
      const bytes = await this.#place.read(user, name)
      if (bytes) this.#keep(user, name, bytes, false)
    }
    this.#publishing.clear()
  }

  publishing(user: string, storedName: string): void {
    this.#publishing.add(recordKey(user, storedName))
  }

  /**
   * A file was published, now or earlier. `length` is that of its partial file, which no longer exists if it was
   * published earlier.
   */
  async published(user: string, storedName: string, length: number): Promise<void> {
    const bytes = await this.#place.read(user, storedName)
    this.#publishing.delete(recordKey(user, storedName))
    if (!bytes) return this.#parts.trace.fail(`${user}/${storedName} was published, and does not exist`)
    this.#keep(user, storedName, bytes, length > 0)
  }

  /** Nothing was published, because a file with this name existed. */
  notPublished(user: string, storedName: string): void {
    this.#publishing.delete(recordKey(user, storedName))
  }

  /** A client was informed that its file is stored: it exists. */
  finished(file: SimulatedFile, { storedName }: SentFile): void {
    this.#place.read(file.user, storedName).then(
      (bytes) => bytes ?? this.#parts.trace.fail(`${file.path} is acknowledged, but not stored`),
      (error: unknown) => this.#parts.trace.fail(`${file.user}/${storedName} can't be read: ${error}`),
    )
  }

  /** The server has ended, and the power fails: opened once more, the storage has everything that it had. */
  async atTheEnd(readMailboxes: (mailboxes: MailboxStore) => Promise<void>): Promise<void> {
    const { machine } = this.#parts
    const { time } = machine
    this.#place.killed(true)
    const process = new SimulatedProcess('a look at the end', machine)
    await new Promise<void>((resolve) => time.alarm(time.now(), resolve))
    const storage = this.#place.storage()
    await storage.open(process.platform)
    await this.opened(storage)
    await readMailboxes(storage.mailboxes)
    await storage[Symbol.asyncDispose]()
  }

  async #stillThere(user: string, name: string, bytes: Uint8Array): Promise<void> {
    const left = await this.#place.read(user, name)
    if (left && (sameBytes(left, bytes) || this.#publishing.has(recordKey(user, name)))) return
    this.#parts.trace.fail(`${user}/${name} was published, and ${left ? 'has other bytes now' : 'is gone'}`)
  }

  #keep(user: string, name: string, bytes: Uint8Array, isAnew: boolean): void {
    const { invariants } = this.#parts
    const names = this.#published.get(user) ?? new Map<string, Uint8Array>()
    if (isAnew || !names.has(name)) this.publications++
    this.#published.set(user, names.set(name, bytes))
    invariants.publishedAs(user, name, bytes, isAnew)
    invariants.quota(
      user,
      Array.from(names.values(), ({ length }) => length),
    )
  }
}

/** The platform of a custom storage, which outlives the runs of the server. */
export function platformOf({ time, random, digests }: Machine): Platform {
  return {
    clock: time,
    random: random.fork('a place of its own'),
    digests,
    crc32: (bytes, start = 0) => crc32(bytes, start),
  }
}
