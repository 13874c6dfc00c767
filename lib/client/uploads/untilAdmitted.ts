import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import type { Clock } from '../../ports/platform.ts'
import { onAbort, wait } from '../../runtime/wait.ts'

/**
 * Waits until the maximum rate and the bound of the link permit sending `bytes` of a file. Returns `undefined` instead of a promise
 * if they permit it now. The bytes count as sent from then on, so the caller must call `pace.acknowledged` or `pace.refused`
 * afterwards. Rejects with OspError `closed`, and counts nothing, if the signal of `stop` aborts first.
 */
export function untilAdmitted(
  pace: Pacer,
  clock: Clock,
  bytes: number,
  stop: { readonly signal: AbortSignal },
): Promise<void> | undefined {
  const delayMs = pace.delayMs(bytes, clock.now())
  if (delayMs <= 0 && pace.admit(bytes, clock.now())) return undefined
  return admitted(pace, clock, bytes, delayMs, stop.signal)
}

async function admitted(pace: Pacer, clock: Clock, bytes: number, delayMs: number, signal: AbortSignal): Promise<void> {
  if (delayMs > 0) await wait(clock, delayMs, signal)
  if (pace.admit(bytes, clock.now())) return
  await new Promise<void>((resolve, reject) => {
    const waiting = pace.queue(bytes, () => {
      aborted[Symbol.dispose]()
      resolve()
    })
    const aborted = onAbort(signal, () => {
      waiting[Symbol.dispose]()
      reject(new OspError('closed'))
    })
  })
}
