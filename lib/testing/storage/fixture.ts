import assert from 'node:assert/strict'
import type { Platform } from '../../ports/platform.ts'
import type { Storage } from '../../ports/storage.ts'
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
export type TestedStorage = Awaited<ReturnType<typeof openTested>>

/** Opens a storage at a place. Removes the place if that fails. */
export async function openTested(
  place: (StorageLocation & Partial<FailingStorageLocation>) | undefined,
  given: Platform,
) {
  assert.ok(place)
  let storage = place.storage()
  const platform = { ...given, clock: { ...given.clock, wallTime: (): number => tested.wallTime } }
  const tested = {
    place,
    platform,
    /** The wall time of the platform; a test case may set it. */
    wallTime: Date.UTC(2026, 0, 1),
    get transfers() {
      return storage.transfers
    },
    get files() {
      return storage.files
    },
    get mailboxes() {
      return storage.mailboxes
    },
    get catalogue() {
      return storage.catalogue
    },
    close: () => storage[Symbol.asyncDispose](),
    /** Closes the storage and opens a new one at its place. */
    async restart() {
      await tested.close()
      storage = place.storage()
      await storage.open(platform)
    },
    /** Closes the storage and removes its place. */
    async [Symbol.asyncDispose]() {
      await using _ = place
      await tested.close()
    },
  }
  try {
    await storage.open(platform)
    return tested
  } catch (error) {
    await place[Symbol.asyncDispose]()
    throw error
  }
}
