/** Tracks unfinished work, so that closing can wait for it. */
export class PendingWork {
  readonly #promises = new Set<Promise<unknown>>()

  /** Adds a promise until it is settled. The caller must handle its rejection. */
  track(work: Promise<unknown>): void {
    this.#promises.add(work)
    const ended = () => this.#promises.delete(work)
    work.then(ended, ended)
  }

  /** Whether no work is unfinished. */
  get isSettled(): boolean {
    return this.#promises.size === 0
  }

  /** Resolves when no work is unfinished, including work that was added meanwhile. */
  async settled(): Promise<void> {
    while (this.#promises.size > 0) await Promise.allSettled(this.#promises)
  }
}
