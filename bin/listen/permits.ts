/** Limits the messages that are handled, or being handled, to the number that `--count` sets. */
export class Permits {
  #free: number
  #isOver = false
  readonly #waiting: ((isGiven: boolean) => void)[] = []

  constructor(count: number = Number.POSITIVE_INFINITY) {
    this.#free = count
  }

  /** Resolves with whether a message may be handled; false after `end`. A handled message keeps its permit. */
  async take(): Promise<boolean> {
    if (this.#isOver) return false
    if (this.#free === 0) return await new Promise((resolve) => this.#waiting.push(resolve))
    this.#free--
    return true
  }

  /** Returns the permit of a message that was not handled. */
  release(): void {
    const next = this.#waiting.shift()
    if (next) next(true)
    else this.#free++
  }

  end(): void {
    this.#isOver = true
    for (const refuse of this.#waiting.splice(0)) refuse(false)
  }
}
