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

  /**
   * Holds the mutex for `work`, which is already running and must not reject. The mutex must be idle. Call `release` just before
   * `work` resolves.
   */
  hold(work: Promise<unknown>): void {
    this.waiting++
    this.#last = work
  }

  /** Ends `hold`. */
  release(): void {
    this.waiting--
    if (this.waiting === 0) this.#last = undefined
  }

  /** Resolves when all earlier jobs have ended. */
  idle(): Promise<unknown> {
    return this.#last ?? Promise.resolve()
  }
}

/** Runs the jobs of one key one after another, and jobs of different keys at the same time. */
export class KeyedMutex {
  /** The latest job of each key, which waits for the earlier ones. */
  readonly #latest = new Map<string, Promise<unknown>>()

  /** Whether a job of this key has not ended. */
  isBusy(key: string): boolean {
    return this.#latest.has(key)
  }

  /** Runs `job` after the earlier jobs of `key` have ended. */
  run<T>(key: string, job: () => Promise<T>): Promise<T> {
    return this.runAll([key], job)
  }

  /** Runs `job` after the earlier jobs of all these keys have ended. */
  async runAll<T>(keys: readonly string[], job: () => Promise<T>): Promise<T> {
    const earlier: Promise<unknown>[] = []
    for (const key of keys) {
      const latest = this.#latest.get(key)
      if (latest) earlier.push(latest)
    }
    const ended = earlier.length > 0 ? Promise.allSettled(earlier).then(job) : job()
    for (const key of keys) this.#latest.set(key, ended)
    try {
      return await ended
    } finally {
      for (const key of keys) if (this.#latest.get(key) === ended) this.#latest.delete(key)
    }
  }
}

interface NamedJob {
  readonly name: string
  readonly ended: Promise<unknown>
}

/** Runs the jobs of one key whose names conflict one after another, and other jobs at the same time. */
export class ConflictMutex {
  readonly #jobs = new Map<string, Set<NamedJob>>()

  /** Runs `job` after those earlier jobs of `key` have ended for whose name `conflicts` returns true. */
  async run<T>(key: string, name: string, conflicts: (other: string) => boolean, job: () => Promise<T>): Promise<T> {
    const jobs = this.#jobs.get(key) ?? new Set<NamedJob>()
    this.#jobs.set(key, jobs)
    const earlier = Array.from(jobs).flatMap((other) => (conflicts(other.name) ? other.ended : []))
    const ended = earlier.length > 0 ? Promise.allSettled(earlier).then(job) : job()
    const own = { name, ended }
    jobs.add(own)
    try {
      return await ended
    } finally {
      jobs.delete(own)
      if (jobs.size === 0 && this.#jobs.get(key) === jobs) this.#jobs.delete(key)
    }
  }
}
