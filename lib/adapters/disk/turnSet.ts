/** A set that is emptied when the current turn of the event loop ends. */
export class TurnSet<T> {
  readonly #members = new Set<T>()

  has(member: T): boolean {
    return this.#members.has(member)
  }

  add(member: T): void {
    if (this.#members.size === 0) setImmediate(() => this.#members.clear())
    this.#members.add(member)
  }

  clear(): void {
    this.#members.clear()
  }
}
