import { exitCodes } from './exitCodes.ts'

/** The first Ctrl-C interrupts; a second one ends the process at once. */
export function onInterrupt(interrupt: () => void): Disposable {
  let times = 0
  const interrupted = () => {
    if (++times > 1) process.exit(exitCodes.interrupted)
    interrupt()
  }
  process.on('SIGINT', interrupted).on('SIGTERM', interrupted).on('SIGHUP', interrupted)
  return {
    [Symbol.dispose]() {
      process.off('SIGINT', interrupted).off('SIGTERM', interrupted).off('SIGHUP', interrupted)
    },
  }
}
