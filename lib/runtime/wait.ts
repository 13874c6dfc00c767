import { OspError } from '../errors.ts'
import type { Clock } from '../ports/platform.ts'

/** Resolves after `ms`; rejects with OspError `closed` when `signal` aborts before. */
export function wait(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      alarm[Symbol.dispose]()
      reject(new OspError('closed'))
    }
    const alarm = clock.alarm(clock.now() + ms, () => {
      signal.removeEventListener('abort', aborted)
      resolve()
    })
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
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

/** `promise`, or a rejection with OspError `closed` when `signal` aborts before it settles. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(new OspError('closed'))
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted))
  })
}

/** Resolves with the reason of `signal` when it aborts. */
export function whenAborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => void onAbort(signal, resolve))
}

/** Calls `listener` with the reason of `signal` when it aborts; at once if it has aborted; never after the disposal. */
export function onAbort(signal: AbortSignal, listener: (reason: unknown) => void): Disposable {
  const aborted = () => listener(signal.reason)
  if (signal.aborted) aborted()
  else signal.addEventListener('abort', aborted, { once: true })
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', aborted) }
}
