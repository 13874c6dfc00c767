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
