import { nodePlatform } from '../../../lib/adapters/nodePlatform.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import type { Storage } from '../../../lib/ports/storage.ts'

/** A place where storages of one kind keep things, for one fact. */
export interface Place extends AsyncDisposable {
  /** A storage of this place, not opened yet. Called again after the former one was closed: a restart. */
  storage(): Storage
  /** The bytes of a published file. */
  read(user: string, storedName: string): Promise<Uint8Array | undefined>
  /** Lets every flush of a partial file fail until it is disposed. */
  failFlushes(): Promise<Disposable>
}

/** How a kind of storage is tried. */
export interface Kind {
  readonly name: string
  /** A new, empty place. */
  place(): Promise<Place>
  /** A place that takes at most about so many bytes; absent where that can't be had. */
  readonly smallPlace?: (bytes: number) => Promise<Place>
}

/** A storage that is open, and what a fact needs to try it. */
export interface Trial {
  storage: Storage
  readonly place: Place
  /** The wall time that the storage is told; a fact may set it. */
  wallTime: number
  /** Closes the storage and opens it anew. */
  restart(): Promise<void>
}

/** Proves a fact with an open storage in a new place, all of which is gone afterwards. */
export type Try = (proof: (trial: Trial) => Promise<void>, bytes?: number) => () => Promise<void>

/** How facts about one kind of storage are proved. */
export function tryingOf(kind: Kind): Try {
  return (proof, bytes) => async () => {
    await using place = await (bytes !== undefined && kind.smallPlace ? kind.smallPlace(bytes) : kind.place())
    const { clock, ...others } = nodePlatform()
    const platform: Platform = { ...others, clock: { ...clock, wallTime: () => trial.wallTime } }
    const trial: Trial = {
      storage: place.storage(),
      place,
      wallTime: Date.UTC(2026, 0, 1),
      async restart() {
        await this.storage[Symbol.asyncDispose]()
        this.storage = place.storage()
        await this.storage.open(platform)
      },
    }
    await trial.storage.open(platform)
    try {
      await proof(trial)
    } finally {
      await trial.storage[Symbol.asyncDispose]()
    }
  }
}
