import { BoundedMap } from '../../core/boundedMap.ts'
import { fixed } from '../../limits.ts'
import type { Usage } from '../../ports/storage.ts'
import { Mutex } from '../../runtime/mutex.ts'

/** Users whose files are counted at the same time: each count holds a directory open. */
const countsAtOnce = 16

/** Carries out one step of a count. */
export type Turn = <T>(work: () => Promise<T>) => Promise<T>

interface Count {
  /** What was published since the count began. */
  readonly added: Usage[]
  readonly done: Promise<Usage>
}

/**
 * The totals of the published files of users. They are counted when they are asked for first, and then follow each change
 * by this process. They are kept in memory alone: after a crash they are counted anew.
 */
export class Usages {
  readonly #count: (user: string, turn: Turn) => Promise<Usage>
  /** Counts take turns, so that one that is long holds up neither other counts nor other work. */
  readonly #turns = new Mutex()
  /** By user, the least recently used first. */
  readonly #known = new BoundedMap<string, Usage>(fixed.rememberedUsers)
  readonly #counting = new Map<string, Count>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  /** `count` reads the files of a user, a few in each turn. */
  constructor(count: (user: string, turn: Turn) => Promise<Usage>) {
    this.#count = count
  }

  /** Counts the files of a user if that was not done yet, or with `recount`. Each user is counted once at a time. */
  of(user: string, recount: boolean): Promise<Usage> {
    const counting = this.#counting.get(user)
    const known = this.#known.get(user)
    if (!known || recount) return counting?.done ?? this.#begin(user)
    this.#known.set(user, known)
    return Promise.resolve(known)
  }

  /** The files of a user have changed by this. */
  change(user: string, by: Usage): void {
    const known = this.#known.get(user)
    if (known) this.#known.set(user, sum(known, by))
    this.#counting.get(user)?.added.push(by)
  }

  #begin(user: string): Promise<Usage> {
    const added: Usage[] = []
    const done = this.#counted(user, added).finally(() => this.#counting.delete(user))
    this.#counting.set(user, { added, done })
    return done
  }

  async #counted(user: string, added: readonly Usage[]): Promise<Usage> {
    if (this.#running >= countsAtOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#running++
    try {
      const found = await this.#count(user, (work) => this.#turns.run(work))
      // The count may have met it or not. Until the next count the totals are too high where it has.
      const usage = added.reduce((total, by) => sum(total, rise(by)), found)
      this.#known.set(user, usage)
      return usage
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}

const sum = (a: Usage, b: Usage): Usage => ({
  bytes: Math.max(0, a.bytes + b.bytes),
  files: Math.max(0, a.files + b.files),
  folders: Math.max(0, a.folders + b.folders),
})

const rise = ({ bytes, files, folders }: Usage): Usage => ({
  bytes: Math.max(0, bytes),
  files: Math.max(0, files),
  folders: Math.max(0, folders),
})
