/** Runs jobs one after another, in the order of the calls. A job that fails does not stop the next one. */
export class Mutex {
  /** The latest job, if it has not ended. */
  #last: Promise<unknown> | undefined
  /** The number of jobs that have not ended. */
  waiting = 0

  /** Runs `job` after all earlier jobs have ended, and settles as `job` does. */
  run<T>(job: () => Promise<T> | T): Promise<T> {
    this.waiting++
    const result = (this.#last ?? Promise.resolve()).then(job)
    const ended = () => {
      this.waiting--
      if (this.waiting === 0) this.#last = undefined
    }
    this.#last = result.then(ended, ended)
    return result
  }

  /** Counts `work`, which runs already and does not reject, as a job until `vacate`. No other job may be unfinished. */
  occupy(work: Promise<unknown>): void {
    this.waiting++
    this.#last = work
  }

  /** Ends the job of `occupy`, immediately before its promise resolves. */
  vacate(): void {
    this.waiting--
    if (this.waiting === 0) this.#last = undefined
  }

  /** Resolves when all earlier jobs have ended. */
  idle(): Promise<unknown> {
    return this.#last ?? Promise.resolve()
  }
}

interface KeyedJob {
  readonly name: string
  readonly ended: Promise<unknown>
}

/** Runs the jobs of one key one after another, and jobs of different keys at the same time. */
export class KeyedMutex {
  readonly #jobs = new Map<string, Set<KeyedJob>>()

  /**
   * Runs `job` after the earlier jobs of `key` have ended, or only those for whose name `conflicts` returns true.
   * Either all jobs of a key have names, or none has.
   */
  run<T>(key: string, job: () => Promise<T>, name = '', conflicts?: (other: string) => boolean): Promise<T> {
    return this.#run([key], job, name, conflicts)
  }

  /** Whether a job of this key has not ended. */
  isBusy(key: string): boolean {
    return this.#jobs.has(key)
  }

  /** Runs `job` after the earlier jobs of all these keys have ended. None of their jobs may have a name. */
  runAll<T>(keys: readonly string[], job: () => Promise<T>): Promise<T> {
    return this.#run(keys, job, '')
  }

  async #run<T>(
    keys: readonly string[],
    job: () => Promise<T>,
    name: string,
    conflicts?: (other: string) => boolean,
  ): Promise<T> {
    const earlier = keys.flatMap((key) => this.#before(key, conflicts))
    const ended = earlier.length > 0 ? Promise.allSettled(earlier).then(job) : job()
    const own = { name, ended }
    for (const key of keys) {
      const jobs = this.#jobs.get(key)
      if (jobs) jobs.add(own)
      else this.#jobs.set(key, new Set([own]))
    }
    try {
      return await ended
    } finally {
      for (const key of keys) {
        const jobs = this.#jobs.get(key)
        jobs?.delete(own)
        if (jobs?.size === 0) this.#jobs.delete(key)
      }
    }
  }

  #before(key: string, conflicts: ((other: string) => boolean) | undefined): Promise<unknown>[] {
    const jobs = this.#jobs.get(key)
    if (!jobs) return []
    // Without names, the latest job has waited for all the others.
    const before = conflicts ? [...jobs].filter((other) => conflicts(other.name)) : [...jobs].slice(-1)
    return before.map(({ ended }) => ended)
  }
}
