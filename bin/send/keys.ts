import { readFileSync } from 'node:fs'

/** What the keys do. */
export interface KeyActions {
  /** Pauses all uploads, or lets them go on if all are paused. */
  togglePause(): void
  /** Cancels all uploads. */
  cancelAll(): void
  /** Ends the command, and leaves its uploads for later. */
  leave(): void
  /** Shows a line. */
  say(text: string): void
}

const ctrlC = '\u0003'
const ctrlZ = '\u001A'

/**
 * Takes keys from a terminal on stdin: p, c (which asks first) and q; `undefined` where stdin is none, or where this process
 * is in the background, which reading from a terminal would stop.
 */
export function takeKeys(actions: KeyActions): Disposable | undefined {
  const { stdin } = process
  if (!stdin.isTTY || !isForeground()) return undefined
  let asks = false
  const pressed = (key: string) => {
    if (asks) {
      asks = false
      if (key === 'y' || key === 'Y') actions.cancelAll()
      else actions.say('nothing was cancelled')
      if (key !== ctrlC) return
    }
    if (key === 'p' || key === 'P') actions.togglePause()
    else if (key === 'c' || key === 'C') {
      asks = true
      actions.say('cancel all files that are not stored yet, and remove what the server has of them? y or n')
    } else if (key === 'q' || key === 'Q') actions.leave()
    else if (key === ctrlC) process.kill(process.pid, 'SIGINT')
    else if (key === ctrlZ) suspend()
  }
  const read = (keys: string) => {
    for (const key of keys) pressed(key)
  }
  const goOn = () => stdin.setRawMode(true)
  const suspend = () => {
    stdin.setRawMode(false)
    process.kill(process.pid, 'SIGTSTP')
  }
  // Whatever ends the process, the terminal is as it was.
  const restore = () => stdin.setRawMode(false)
  stdin.setEncoding('utf8').setRawMode(true).on('data', read)
  process.on('SIGCONT', goOn).once('exit', restore)
  return {
    [Symbol.dispose]() {
      process.off('SIGCONT', goOn).off('exit', restore)
      stdin.off('data', read).setRawMode(false).pause()
    },
  }
}

/** Whether the terminal is this process's: its group is the one that the terminal belongs to. Only Linux tells. */
function isForeground(): boolean {
  try {
    // Behind the name in brackets: state, parent, group, session, terminal, and the group that the terminal belongs to.
    const text = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , owner] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return group === owner
  } catch {
    return true
  }
}
