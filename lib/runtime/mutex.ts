/** Runs jobs one after another, in the order in which they came. A job that fails does not hold up the next. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  /** Jobs that have not ended. */
  get waiting(): number {
    return this.#waiting
  }

  /** Resolves or rejects as `job` does, once it is its turn. */
  run<T>(job: () => Promise<T> | T): Promise<T> {
    this.#waiting++
    const result = this.#last.then(job)
    const ended = () => {
      this.#waiting--
    }
    this.#last = result.then(ended, ended)
    return result
  }

  /** Resolves when every job that has been handed in so far has ended. */
  idle(): Promise<unknown> {
    return this.#last
  }
}
