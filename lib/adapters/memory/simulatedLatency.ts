import type { Platform } from '../../ports/platform.ts'

/** Simulates the duration of operations in memory, by the clock of the platform that has opened the storage. */
export class SimulatedLatency {
  readonly #mostMs: number
  #platform: Platform | undefined

  /** `mostMs` is the maximum duration of an operation; 0 for none. */
  constructor(mostMs = 0) {
    this.#mostMs = mostMs
  }

  start(platform: Platform): void {
    this.#platform = platform
  }

  /** Resolves with the result of `act`, which runs in the middle of the duration. */
  async run<T>(act: () => T | Promise<T>): Promise<T> {
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
