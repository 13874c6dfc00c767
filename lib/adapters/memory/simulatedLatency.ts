import type { Platform } from '../../ports/platform.ts'

/** How long things in memory take, by the clock of who has opened the storage: nothing, unless told. */
export class SimulatedLatency {
  readonly #mostMs: number
  #platform: Platform | undefined

  /** `mostMs`: the longest that anything takes. */
  constructor(mostMs = 0) {
    this.#mostMs = mostMs
  }

  goBy(platform: Platform): void {
    this.#platform = platform
  }

  /** Resolves with what `act` does, which it does in the middle of its time. */
  async take<T>(act: () => T | Promise<T>): Promise<T> {
    if (this.#mostMs === 0) return act()
    await this.#wait()
    const result = await act()
    await this.#wait()
    return result
  }

  #wait(): Promise<void> {
    const platform = this.#platform
    if (!platform) return Promise.resolve()
    const { clock, random } = platform
    const ms = (random.fraction('time of a storage in memory') * this.#mostMs) / 2
    return new Promise((resolve) => clock.alarm(clock.now() + ms, resolve))
  }
}
