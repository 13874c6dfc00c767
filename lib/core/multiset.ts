/** Counts what there is of each key; a key of which nothing is left takes no memory. */
export class Multiset {
  readonly #counts = new Map<string, number>()

  of(key: string): number {
    return this.#counts.get(key) ?? 0
  }

  add(key: string): void {
    this.#counts.set(key, this.of(key) + 1)
  }

  remove(key: string): void {
    const others = this.of(key) - 1
    if (others > 0) this.#counts.set(key, others)
    else this.#counts.delete(key)
  }
}
