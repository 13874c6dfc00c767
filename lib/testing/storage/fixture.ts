import type { MailboxStore } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import type { FileStore, Storage, TransferStore } from '../../ports/storage.ts'
import type { Checks } from '../testCases.ts'

/** The place of a storage, for one test case. */
export interface StorageLocation extends AsyncDisposable {
  /** Returns a storage of this place, not opened yet. A call after the former storage was closed stands for a restart. */
  storage(): Storage
  /** Returns the bytes of a published file. */
  read(user: string, storedName: string): Promise<Uint8Array | undefined>
}

/** A place whose flushes can fail. */
export interface FailingStorageLocation extends StorageLocation {
  /** Makes every flush of partial files and of messages fail until the result is disposed. */
  failFlushes(): Promise<Disposable>
}

/** How to make places of a kind of storage. */
export interface StorageKind {
  readonly name: string
  /** Returns a new, empty place. */
  location(): Promise<StorageLocation>
  /** Returns a place with a capacity of about `bytes`; absent if the kind cannot be limited. */
  readonly smallLocation?: (bytes: number) => Promise<StorageLocation>
  /** Returns a place whose flushes can fail; absent if the kind cannot simulate that. */
  readonly failingLocation?: () => Promise<FailingStorageLocation>
}

/** The kinds of places that `StorageKind` makes. */
export type StoragePlaceKind = Exclude<keyof StorageKind, 'name'>

/** A subject that contains the word `storage`, its checks, and the kind of place if it is not `location`. */
export type StorageSuite = readonly [subject: string, Checks<TestedStorage>, StoragePlaceKind?]

/** The open storage of one test case, with its place and its clock. Restarting replaces the three stores. */
export class TestedStorage implements Storage {
  readonly place: StorageLocation & Partial<FailingStorageLocation>
  readonly platform: Platform
  /** The wall time of the platform; a test case may set it. */
  wallTime = Date.UTC(2026, 0, 1)
  #storage: Storage

  private constructor(place: StorageLocation, platform: Platform) {
    this.place = place
    this.platform = { ...platform, clock: { ...platform.clock, wallTime: () => this.wallTime } }
    this.#storage = place.storage()
  }

  static async open(place: StorageLocation, platform: Platform): Promise<TestedStorage> {
    const storage = new TestedStorage(place, platform)
    await storage.open().catch(async (error: unknown) => {
      await place[Symbol.asyncDispose]()
      throw error
    })
    return storage
  }

  get transfers(): TransferStore {
    return this.#storage.transfers
  }

  get files(): FileStore {
    return this.#storage.files
  }

  get mailboxes(): MailboxStore {
    return this.#storage.mailboxes
  }

  open(): Promise<void> {
    return this.#storage.open(this.platform)
  }

  async close(): Promise<void> {
    await this.#storage[Symbol.asyncDispose]()
  }

  /** Closes the storage and opens a new one at its place. */
  async restart(): Promise<void> {
    await this.close()
    this.#storage = this.place.storage()
    await this.open()
  }

  /** Closes the storage and removes its place. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.close()
    } finally {
      await this.place[Symbol.asyncDispose]()
    }
  }
}
