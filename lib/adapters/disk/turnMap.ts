/** A map that is emptied when the current turn of the event loop ends. */
export class TurnMap<K, V> {
  readonly #entries = new Map<K, V>()

  get(key: K): V | undefined {
    return this.#entries.get(key)
  }

  set(key: K, value: V): void {
    if (this.#entries.size === 0) setImmediate(() => this.#entries.clear())
    this.#entries.set(key, value)
  }

  delete(key: K): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }
}
