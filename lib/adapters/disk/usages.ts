import { BoundedMap } from '../../core/boundedMap.ts'
import { fixed } from '../../limits.ts'
import type { Usage } from '../../ports/storage.ts'
import { Mutex } from '../../runtime/mutex.ts'

/** The number of users whose files are counted at the same time. Each count holds a directory open. */
const countsAtOnce = 16

/** Runs one step of a count. */
export type RunStep = <T>(work: () => Promise<T>) => Promise<T>

interface Count {
  /** The additions since the count began. The count may include them or not. */
  added: Usage
  readonly done: Promise<Usage>
}

/** The totals of published files, counted on the first request after a start. They then follow each change. */
export class Usages {
  readonly #count: (user: string, runStep: RunStep) => Promise<Usage>
  /** Serializes the steps of all counts, so that a long count delays neither the others nor other operations. */
  readonly #steps = new Mutex()
  /** By user, the least recently used first. */
  readonly #known = new BoundedMap<string, Usage>(fixed.rememberedUsers)
  readonly #counting = new Map<string, Count>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  /** `count` reads the files of a user, a few in each step. */
  constructor(count: (user: string, runStep: RunStep) => Promise<Usage>) {
    this.#count = count
  }

  /** Returns the totals of a user. Counts the files on the first call or with `recount`, once at a time for a user. */
  of(user: string, recount: boolean): Promise<Usage> {
    const counting = this.#counting.get(user)
    const known = this.#known.get(user)
    if (!known || recount) return counting?.done ?? this.#begin(user)
    this.#known.set(user, known)
    return Promise.resolve(known)
  }

  change(user: string, by: Usage): void {
    const known = this.#known.get(user)
    if (known) this.#known.set(user, sum(known, by))
    const counting = this.#counting.get(user)
    if (counting) counting.added = sum(counting.added, sum(none, by))
  }

  #begin(user: string): Promise<Usage> {
    const done = this.#counted(user).finally(() => this.#counting.delete(user))
    this.#counting.set(user, { added: none, done })
    return done
  }

  async #counted(user: string): Promise<Usage> {
    if (this.#running >= countsAtOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#running++
    try {
      const found = await this.#count(user, (work) => this.#steps.run(work))
      // If the count includes the additions, the totals are too high until the next count.
      const usage = sum(found, this.#counting.get(user)?.added ?? none)
      this.#known.set(user, usage)
      return usage
    } finally {
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}

const none: Usage = { bytes: 0, files: 0, folders: 0 }

/** Adds without going below zero. */
const sum = (a: Usage, b: Usage): Usage => ({
  bytes: Math.max(0, a.bytes + b.bytes),
  files: Math.max(0, a.files + b.files),
  folders: Math.max(0, a.folders + b.folders),
})
