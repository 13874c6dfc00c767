/** Samples are at least this many milliseconds apart. */
const everyMs = 100
/** The speed is that of the last five seconds, or of the last two steps where a step takes longer than that. */
const overMs = 5_000
const leastSteps = 2
/** Less tells nothing. */
const leastMs = 400

/** The speed at which a count of bytes rises, also where it rises by large steps that are seconds apart. */
export class Speed {
  /** The first count, then each at which it had risen. */
  readonly #samples: { atMs: number; bytes: number }[] = []
  #nowMs = 0

  /** Takes the count at `nowMs`. */
  note(bytes: number, nowMs: number): void {
    this.#nowMs = nowMs
    const last = this.#samples.at(-1)
    if (last && (bytes === last.bytes || nowMs - last.atMs < everyMs)) return
    // After a pause it is measured anew.
    if (this.bytesPerSecond === 0) this.#samples.length = 0
    this.#samples.push({ atMs: nowMs, bytes })
    while (this.#samples.length > leastSteps + 1 && nowMs - (this.#samples[1]?.atMs ?? nowMs) > overMs) {
      this.#samples.shift()
    }
  }

  /** Bytes a second, or `undefined` as long as that is not known; 0 where the next step is long overdue. */
  get bytesPerSecond(): number | undefined {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || !last || last.atMs - first.atMs < leastMs) return undefined
    const elapsedMs = last.atMs - first.atMs
    const stepMs = elapsedMs / (this.#samples.length - 1)
    const sinceMs = this.#nowMs - last.atMs
    if (sinceMs > Math.max(overMs, 3 * stepMs)) return 0
    return ((last.bytes - first.bytes) / (elapsedMs + Math.max(0, sinceMs - stepMs))) * 1_000
  }
}
