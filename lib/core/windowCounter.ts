import { BoundedMap } from './boundedMap.ts'

interface Window {
  count: number
  readonly endsAtMs: number
}

/** Counts the events of up to `maxKeys` keys, each in a window of time that begins with its first event. */
export class WindowCounter {
  readonly #windowMs: number
  /** The oldest window first, which a new key displaces. */
  readonly #windows: BoundedMap<string, Window>

  constructor(windowMs: number, maxKeys: number) {
    this.#windowMs = windowMs
    this.#windows = new BoundedMap(maxKeys)
  }

  get size(): number {
    return this.#windows.size
  }

  /** Returns the count of the current window of a key and the time until it ends; zeros if the key has none. */
  of(key: string, now: number): { readonly number: number; readonly leftMs: number } {
    const { count, endsAtMs } = this.#current(now).get(key) ?? { count: 0, endsAtMs: now }
    return { number: count, leftMs: endsAtMs - now }
  }

  /** Counts an event. Returns the new count. */
  add(key: string, now: number): number {
    const windows = this.#current(now)
    const window = windows.get(key)
    if (window) return ++window.count
    windows.set(key, { count: 1, endsAtMs: now + this.#windowMs })
    return 1
  }

  /** Removes the ended windows and returns the others. */
  #current(now: number): BoundedMap<string, Window> {
    for (const [key, { endsAtMs }] of this.#windows) {
      if (endsAtMs > now) break
      this.#windows.delete(key)
    }
    return this.#windows
  }
}
