/** What stands under a key, as far as it is known: nothing while it is being read. */
interface Entry {
  readonly known?: { readonly value: string | undefined }
}

/** What was read or written last, missing keys included: at most `most` keys, the longest unchanged go first. */
export class Recent {
  readonly #most: number
  readonly #entries = new Map<string, Entry>()

  constructor(most: number) {
    this.#most = most
  }

  /** The value of a key, or that of `read`, which is remembered unless the key changes meanwhile. */
  async get(key: string, read: () => Promise<string | undefined>): Promise<string | undefined> {
    const { known } = this.#entries.get(key) ?? {}
    if (known) return known.value
    const reading: Entry = {}
    this.#put(key, reading)
    try {
      const value = await read()
      if (this.#entries.get(key) === reading) this.#put(key, { known: { value } })
      return value
    } finally {
      if (this.#entries.get(key) === reading) this.#entries.delete(key)
    }
  }

  /** The key has this value now. */
  set(key: string, value: string | undefined): void {
    this.#put(key, { known: { value } })
  }

  forget(key: string): void {
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
  }

  #put(key: string, entry: Entry): void {
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    const [oldest] = this.#entries.keys()
    if (this.#entries.size > this.#most && oldest !== undefined) this.#entries.delete(oldest)
  }
}
