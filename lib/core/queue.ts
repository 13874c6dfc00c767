/** First in, first out, at the same small cost however many wait: `Array.shift` moves a long array for each one. */
export class Queue<T> {
  #items: (T | undefined)[] = []
  /** Places before it are empty. */
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  /** The one that waits longest. */
  get first(): T | undefined {
    return this.#items[this.#head]
  }

  push(item: T): void {
    this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (this.#head === this.#items.length) return undefined
    this.#items[this.#head++] = undefined
    // Half of the array is empty: the cost of this move is spread over as many shifts.
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }
}
