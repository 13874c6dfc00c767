const none: never[] = []

/** A first-in, first-out queue. Unlike `Array.shift`, `shift` takes the same short time for every length. */
export class Queue<T> {
  /** Empty queues share one array. */
  #items: (T | undefined)[] = none
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get first(): T | undefined {
    return this.#items[this.#head]
  }

  push(item: T): void {
    if (this.#items === none) this.#items = [item]
    else this.#items.push(item)
  }

  shift(): T | undefined {
    const item = this.#items[this.#head]
    if (this.#head === this.#items.length) return undefined
    this.#items[this.#head++] = undefined
    // Half of the array is empty: the cost of this copy is spread over as many calls.
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#head === this.#items.length ? none : this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }
}
