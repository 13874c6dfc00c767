import { OspError } from '../errors.ts'
import type { Clock } from '../ports/platform.ts'

/** Resolves after `ms`. Rejects with OspError `closed` if `signal` aborts first. */
export function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const alarm = clock.alarm(clock.now() + ms, () => {
      aborted[Symbol.dispose]()
      resolve()
    })
    const aborted = onAbort(signal, () => {
      alarm[Symbol.dispose]()
      reject(new OspError('closed'))
    })
  })
}

/** Any number of waits that end together. They have one listener on the signal, since many would cause a warning of Node. */
export class Waits {
  readonly #clock: Clock
  readonly #signal: AbortSignal
  readonly #ends = new Set<() => void>()

  /** Once `signal` aborts, all waits reject. */
  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock
    this.#signal = signal
    onAbort(signal, () => {
      for (const end of this.#ends) end()
    })
  }

  /** Resolves after `ms`. Rejects with OspError `closed` if the signal aborts first. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#signal.aborted) return reject(new OspError('closed'))
      const alarm = this.#clock.alarm(this.#clock.now() + ms, () => {
        this.#ends.delete(end)
        resolve()
      })
      const end = () => {
        this.#ends.delete(end)
        alarm[Symbol.dispose]()
        reject(new OspError('closed'))
      }
      this.#ends.add(end)
    })
  }
}

/** Resolves when `work` has settled, when `signal` aborts, or after `ms`. */
export async function waitAtMost(
  clock: Clock,
  ms: number,
  work: Promise<unknown>,
  signal?: AbortSignal,
): Promise<void> {
  const over = new AbortController()
  const ended = signal ? AbortSignal.any([signal, over.signal]) : over.signal
  await Promise.race([work, wait(clock, ms, ended)]).catch(() => {})
  // A pending alarm would keep the process alive.
  over.abort()
}

/** Settles as `promise` does. Rejects with OspError `closed` and this text if `signal` aborts first. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, text?: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = onAbort(signal, () => reject(new OspError('closed', text)))
    promise.then(resolve, reject).finally(() => aborted[Symbol.dispose]())
  })
}

/** Resolves with the reason of `signal` when it aborts. */
export function whenAborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => void onAbort(signal, resolve))
}

/** Calls `listener` with the reason of `signal` when it aborts, or now if it has aborted. Never calls it after the disposal. */
export function onAbort(signal: AbortSignal, listener: (reason: unknown) => void): Disposable {
  const aborted = () => listener(signal.reason)
  if (signal.aborted) aborted()
  else signal.addEventListener('abort', aborted, { once: true })
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', aborted) }
}
