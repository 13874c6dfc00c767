/** A map that is emptied when the current turn of the event loop ends or, with `turns`, after that number of turns. */
export class TurnMap<K, V> {
  readonly #entries = new Map<K, V>()
  readonly #turns: number

  constructor(turns = 1) {
    this.#turns = turns
  }

  get(key: K): V | undefined {
    return this.#entries.get(key)
  }

  set(key: K, value: V): void {
    if (this.#entries.size === 0) this.#clearAfter(this.#turns)
    this.#entries.set(key, value)
  }

  delete(key: K): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }

  #clearAfter(turns: number): void {
    setImmediate(() => (turns > 1 ? this.#clearAfter(turns - 1) : this.#entries.clear()))
  }
}
