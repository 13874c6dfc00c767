/** Minimum interval between samples. */
const everyMs = 100
/** The speed covers the last five seconds, or the last two steps if a step takes longer. */
const overMs = 5_000
const leastSteps = 2
/** A shorter span gives no meaningful speed. */
const leastMs = 400

/** Measures the rate at which a byte count rises, even if it rises in large steps seconds apart. */
export class Speed {
  /** The first sample, then each sample with a higher count. */
  readonly #samples: { atMs: number; bytes: number }[] = []
  #nowMs = 0

  /** Adds the count at `nowMs`. */
  note(bytes: number, nowMs: number): void {
    this.#nowMs = nowMs
    const last = this.#samples.at(-1)
    if (last && (bytes === last.bytes || nowMs - last.atMs < everyMs)) return
    // The measurement restarts after a pause.
    if (this.bytesPerSecond === 0) this.#samples.length = 0
    this.#samples.push({ atMs: nowMs, bytes })
    while (this.#samples.length > leastSteps + 1 && nowMs - (this.#samples[1]?.atMs ?? nowMs) > overMs) {
      this.#samples.shift()
    }
  }

  /** Returns bytes a second, `undefined` until the speed is known, or 0 if the next step is long overdue. */
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
