/** Counts the occurrences of keys. A key without occurrences takes no memory. */
export class Multiset {
  readonly #counts = new Map<string, number>()
  readonly #byCount = new Map<number, Set<string>>()
  #most = 0

  of(key: string): number {
    return this.#counts.get(key) ?? 0
  }

  /** A key that occurs at least as often as any other; `undefined` if there is no key. */
  get largest(): string | undefined {
    const [key] = this.#byCount.get(this.#most) ?? []
    return key
  }

  add(key: string): void {
    this.#set(key, this.of(key) + 1)
  }

  remove(key: string): void {
    if (this.#counts.has(key)) this.#set(key, this.of(key) - 1)
  }

  #set(key: string, count: number): void {
    const former = this.of(key)
    const keys = this.#byCount.get(former)
    keys?.delete(key)
    if (keys?.size === 0) this.#byCount.delete(former)
    if (count === 0) this.#counts.delete(key)
    else {
      this.#counts.set(key, count)
      this.#byCount.set(count, (this.#byCount.get(count) ?? new Set()).add(key))
    }
    // Counts change by one: if no key has the largest count any more, this one has the count below.
    if (count > this.#most || !this.#byCount.has(this.#most)) this.#most = count
  }
}
