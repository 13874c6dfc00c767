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
  async run<T>(key: string, job: () => Promise<T>, name = '', conflicts?: (other: string) => boolean): Promise<T> {
    const jobs = this.#jobs.get(key) ?? new Set<KeyedJob>()
    this.#jobs.set(key, jobs)
    // Without names, the latest job has waited for all the others.
    const before = conflicts ? [...jobs].filter((other) => conflicts(other.name)) : [...jobs].slice(-1)
    const earlier = before.map(({ ended }) => ended)
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
