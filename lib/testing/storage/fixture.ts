import type { Platform } from '../../ports/platform.ts'
import type { Storage } from '../../ports/storage.ts'
import { factsOf, type TestCase } from '../testCases.ts'

/** A place where storages of one kind keep things, for one fact. */
export interface StoragePlace extends AsyncDisposable {
  /** A storage of this place, not opened yet. Called again after the former one was closed: a restart. */
  storage(): Storage
  /** The bytes of a published file. */
  read(user: string, storedName: string): Promise<Uint8Array | undefined>
}

/** A place whose disk can be made to fail. */
export interface BrittlePlace extends StoragePlace {
  /** Lets every flush of a partial file, and of messages, fail until it is disposed. */
  failFlushes(): Promise<Disposable>
}

/** How a kind of storage is tried. */
export interface StorageKind {
  readonly name: string
  /** A new, empty place. */
  place(): Promise<StoragePlace>
  /** A place that takes at most about so many bytes; absent where that can't be had. */
  readonly smallPlace?: (bytes: number) => Promise<StoragePlace>
  /** A place whose flushes can fail; absent where that can't be had. */
  readonly brittlePlace?: () => Promise<BrittlePlace>
}

/** A storage that is open, and what a fact needs to try it. */
export interface Fixture<P extends StoragePlace = StoragePlace> {
  storage: Storage
  readonly place: P
  readonly platform: Platform
  /** The wall time that the storage is told; a fact may set it. */
  wallTime: number
  /** Closes the storage and opens it anew. */
  restart(): Promise<void>
}

/** Proves a fact with an open storage in a new place, small where `bytes` are given; all of it is gone afterwards. */
export type Try<P extends StoragePlace = StoragePlace> = (
  proof: (trial: Fixture<P>) => Promise<void>,
  bytes?: number,
) => () => Promise<void>

/** How facts are proved in places that `open` makes. */
export function tryingOf<P extends StoragePlace>(platform: Platform, open: (bytes?: number) => Promise<P>): Try<P> {
  return (proof, bytes) => async () => {
    await using place = await open(bytes)
    const { clock, ...others } = platform
    const trial: Fixture<P> = {
      storage: place.storage(),
      place,
      platform: { ...others, clock: { ...clock, wallTime: () => trial.wallTime } },
      wallTime: Date.UTC(2026, 0, 1),
      async restart() {
        await this.storage[Symbol.asyncDispose]()
        this.storage = place.storage()
        await this.storage.open(this.platform)
      },
    }
    await trial.storage.open(trial.platform)
    try {
      await proof(trial)
    } finally {
      await trial.storage[Symbol.asyncDispose]()
    }
  }
}

/** States a test case of an open storage in a new place, small if `bytes` are given. */
export type StorageIt<P extends StoragePlace = StoragePlace> = (
  fact: string,
  run: (trial: Fixture<P>) => Promise<void>,
  bytes?: number,
) => void

/** Returns the test cases about a subject of a storage; with `skipped`, the reason why none of them can run. */
export function storageCases<P extends StoragePlace>(
  subject: string,
  trying: Try<P>,
  state: (it: StorageIt<P>) => void,
  skipped?: string,
): readonly TestCase[] {
  return factsOf(subject, (it) => state((fact, run, bytes) => it(fact, trying(run, bytes))), skipped)
}
