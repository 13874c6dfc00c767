/** Work that was begun and that closing has to wait for. */
export class PendingWork {
  readonly #promises = new Set<Promise<unknown>>()

  /** Adds a promise until it is settled. Its rejection is left to the caller. */
  track(work: Promise<unknown>): void {
    this.#promises.add(work)
    const ended = () => this.#promises.delete(work)
    work.then(ended, ended)
  }

  /** Whether nothing is pending. */
  get isSettled(): boolean {
    return this.#promises.size === 0
  }

  /** Resolves when nothing is pending, including work that was added meanwhile. */
  async settled(): Promise<void> {
    while (this.#promises.size > 0) await Promise.allSettled(this.#promises)
  }
}
