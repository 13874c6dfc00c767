import type { Platform } from '../../ports/platform.ts'
import type { Storage } from '../../ports/storage.ts'
import { type TestCase, testCasesOf } from '../testCases.ts'

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

/** An open storage, with its place and its clock. */
export interface Fixture<P extends StorageLocation = StorageLocation> {
  storage: Storage
  readonly place: P
  readonly platform: Platform
  /** The wall time of the storage's platform; a test case may set it. */
  wallTime: number
  /** Closes the storage and opens a new one. */
  restart(): Promise<void>
}

/** Returns a test that runs with an open storage in a new place, small if `bytes` are given, and removes it afterwards. */
export type Try<P extends StorageLocation = StorageLocation> = (
  proof: (fixture: Fixture<P>) => Promise<void>,
  bytes?: number,
) => () => Promise<void>

/** Returns a `Try` for the places that `open` makes. */
export function tryingOf<P extends StorageLocation>(platform: Platform, open: (bytes?: number) => Promise<P>): Try<P> {
  return (proof, bytes) => async () => {
    await using place = await open(bytes)
    const { clock, ...others } = platform
    const fixture: Fixture<P> = {
      storage: place.storage(),
      place,
      platform: { ...others, clock: { ...clock, wallTime: () => fixture.wallTime } },
      wallTime: Date.UTC(2026, 0, 1),
      async restart() {
        await this.storage[Symbol.asyncDispose]()
        this.storage = place.storage()
        await this.storage.open(this.platform)
      },
    }
    await fixture.storage.open(fixture.platform)
    try {
      await proof(fixture)
    } finally {
      await fixture.storage[Symbol.asyncDispose]()
    }
  }
}

/** States a test case of an open storage in a new place, small if `bytes` are given. */
export type StorageIt<P extends StorageLocation = StorageLocation> = (
  fact: string,
  run: (fixture: Fixture<P>) => Promise<void>,
  bytes?: number,
) => void

/** Returns the test cases about a subject of a storage; with `skipped`, the reason why none of them can run. */
export function storageCases<P extends StorageLocation>(
  subject: string,
  trying: Try<P>,
  state: (it: StorageIt<P>) => void,
  skipped?: string,
): readonly TestCase[] {
  return testCasesOf(subject, (it) => state((fact, run, bytes) => it(fact, trying(run, bytes))), skipped)
}
