/** A map of up to `maxSize` entries in the order in which they were set. Another entry evicts the oldest one. */
export class BoundedMap<K, V> extends Map<K, V> {
  maxSize: number
  readonly #evict: ((key: K) => void) | undefined
  /** Is positioned before the oldest entry. A new iterator would have to skip the places of all removed entries. */
  #oldest: Iterator<K> | undefined

  /** `evict` is called before the oldest entry is deleted; it can delete the entry itself. */
  constructor(maxSize: number, evict?: (key: K) => void) {
    super()
    this.maxSize = maxSize
    this.#evict = evict
  }

  /** Sets an entry as the latest one, also if the key exists already. */
  override set(key: K, value: V): this {
    this.delete(key)
    super.set(key, value)
    while (this.size > this.maxSize) {
      this.#oldest ??= this.keys()
      const { value: oldest, done } = this.#oldest.next()
      if (done) {
        this.#oldest = undefined
      } else {
        this.#evict?.(oldest)
        this.delete(oldest)
      }
    }
    return this
  }
}
