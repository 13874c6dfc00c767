import { isatty } from 'node:tty'
import { exitCodes } from './exitCodes.ts'

/** Returns whether this process continues after SIGHUP: neither stdin nor stdout is a terminal. */
const outlivesTerminal = () => !isatty(0) && !isatty(1)

/**
 * Ignores SIGHUP if neither stdin nor stdout is a terminal. `nohup` ignores the signal and redirects both, but Node
 * resets ignored signals when it starts.
 */
export function ignoreHangup(): void {
  if (outlivesTerminal()) process.on('SIGHUP', () => {})
}

/**
 * Calls `interrupt` at the first Ctrl-C, and ends the process at the second one. SIGTERM counts as Ctrl-C, and so does
 * SIGHUP on a terminal.
 */
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
