import { isatty } from 'node:tty'
import { exitCodes } from './exitCodes.ts'

/** Whether this process goes on after SIGHUP: no terminal that hangs up is the user's way to it. */
const outlivesTerminal = () => !isatty(0) && !isatty(1)

/**
 * Ignores SIGHUP if neither stdin nor stdout is a terminal. `nohup` sets the signal to be ignored and redirects both, but Node
 * resets each ignored signal when it starts.
 */
export function ignoreHangup(): void {
  if (outlivesTerminal()) process.on('SIGHUP', () => {})
}

/** The first Ctrl-C interrupts; a second one ends the process at once. So does SIGTERM, and SIGHUP of a terminal. */
export function onInterrupt(interrupt: () => void): Disposable {
  let times = 0
  const interrupted = () => {
    if (++times > 1) process.exit(exitCodes.interrupted)
    interrupt()
  }
  const signals = outlivesTerminal() ? (['SIGINT', 'SIGTERM'] as const) : (['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  for (const signal of signals) process.on(signal, interrupted)
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, interrupted)
    },
  }
}
