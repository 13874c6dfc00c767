/** Samples are this many milliseconds apart or more … */
const everyMs = 100
/** … and the speed is that of so many milliseconds. */
const overMs = 5_000
/** Less tells nothing. */
const leastMs = 400

/** The speed of the last seconds of something that is counted in bytes. */
export class Speed {
  readonly #samples: { atMs: number; bytes: number }[] = []

  /** So many bytes in all at `nowMs`. */
  note(bytes: number, nowMs: number): void {
    const last = this.#samples.at(-1)
    if (last && nowMs - last.atMs < everyMs) return
    this.#samples.push({ atMs: nowMs, bytes })
    while (nowMs - (this.#samples[1]?.atMs ?? nowMs) > overMs) this.#samples.shift()
  }

  /** Bytes a second, or `undefined` as long as that is not known. */
  get bytesPerSecond(): number | undefined {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || !last || last.atMs - first.atMs < leastMs) return undefined
    return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1_000
  }
}
