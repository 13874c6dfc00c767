import type { Log } from 'ospd'
import { nodePlatform } from 'ospd/node'
import { exitCodes } from '../common/usage.ts'

/** The shutdown of a daemon, which SIGTERM or SIGINT requests. */
export interface Stopping {
  /** Whether a signal has requested the shutdown. */
  readonly isRequested: boolean
  /** Aborts when the daemon must close: at the end of the drain time, which the first signal starts, or at a second signal. */
  readonly due: AbortSignal
}

/** Handles the signals that end a daemon. A signal after `due` has aborted ends the process at once. */
export function stopOnSignals(log: Log, drainMs: number): Stopping {
  const due = new AbortController()
  const stopping = { isRequested: false, due: due.signal }
  let alarm: Disposable | undefined
  const signalled = (signal: NodeJS.Signals) => {
    if (due.signal.aborted) process.exit(exitCodes.failed)
    const drains = !stopping.isRequested && drainMs > 0
    if (!stopping.isRequested) log({ level: 'info', event: 'stopping', signal })
    stopping.isRequested = true
    alarm?.[Symbol.dispose]()
    if (!drains) {
      due.abort()
      return
    }
    log({ level: 'info', event: 'draining', drainMs })
    const { clock } = nodePlatform()
    alarm = clock.alarm(clock.now() + drainMs, () => due.abort())
  }
  process.on('SIGTERM', signalled).on('SIGINT', signalled)
  return stopping
}
