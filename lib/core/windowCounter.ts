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

  /** The number of keys with a window. */
  get size(): number {
    return this.#windows.size
  }

  /** Returns the count of the current window of a key and the time until it ends; zeros if the key has none. */
  of(key: string, now: number): { readonly number: number; readonly leftMs: number } {
    const { count, endsAtMs } = this.#current(key, now) ?? { count: 0, endsAtMs: now }
    return { number: count, leftMs: endsAtMs - now }
  }

  /** Counts an event. Returns the new count. */
  add(key: string, now: number): number {
    this.#removeEnded(now)
    const current = this.#current(key, now)
    if (current) return ++current.count
    this.#windows.set(key, { count: 1, endsAtMs: now + this.#windowMs })
    return 1
  }

  #current(key: string, now: number): Window | undefined {
    const window = this.#windows.get(key)
    return window && window.endsAtMs > now ? window : undefined
  }

  #removeEnded(now: number): void {
    for (const [key, { endsAtMs }] of this.#windows) {
      if (endsAtMs > now) return
      this.#windows.delete(key)
    }
  }
}
