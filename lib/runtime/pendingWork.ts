/** Tracks unfinished work, so that closing can wait for it. */
export class PendingWork {
  #unfinished = 0
  #wake: (() => void)[] = []
  readonly #ended = () => {
    this.#unfinished--
    if (this.#unfinished === 0) for (const wake of this.#wake.splice(0)) wake()
  }

  /** Adds a promise until it is settled. The caller must handle its rejection. */
  track(work: Promise<unknown>): void {
    this.#unfinished++
    work.then(this.#ended, this.#ended)
  }

  /** Whether no work is unfinished. */
  get isSettled(): boolean {
    return this.#unfinished === 0
  }

  /** Resolves when no work is unfinished, including work that was added meanwhile. */
  async settled(): Promise<void> {
    while (this.#unfinished > 0) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }
}
