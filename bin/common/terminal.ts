import { readFileSync } from 'node:fs'
import type { ReadStream } from 'node:tty'

/** What a program makes of its terminal while it has it. */
export interface TerminalUse {
  /** Takes the terminal, at first and whenever the program comes to the foreground again. */
  readonly take: () => void
  /** Leaves the terminal as it was. */
  readonly restore: () => void
}

/** How often a program looks whether it has come to the foreground; a shell does not always say so. */
const lookMs = 500

/**
 * Uses the terminal while this program is in the foreground, until it is disposed of. Whatever stops or ends the program
 * (Ctrl-Z, a signal, a crash; not SIGKILL), the terminal is restored before.
 */
export function useTerminal({ take, restore }: TerminalUse): Disposable {
  let isTaken = false
  const leave = () => {
    if (!isTaken) return
    isTaken = false
    restore()
  }
  const look = () => {
    if (!process.listeners('SIGTSTP').includes(stopped)) process.on('SIGTSTP', stopped)
    if (isForeground() === isTaken) return
    if (isTaken) return leave()
    isTaken = true
    take()
  }
  // The last of several uses lets the signal do what it does by itself. A process that no shell watches is not stopped.
  const leaveFor = (signal: NodeJS.Signals, listener: () => void) => {
    leave()
    process.off(signal, listener)
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  const stopped = () => leaveFor('SIGTSTP', stopped)
  const quit = () => leaveFor('SIGQUIT', quit)
  const timer = setInterval(look, lookMs).unref()
  process.on('SIGQUIT', quit).on('SIGCONT', look).on('exit', leave)
  look()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      process.off('SIGTSTP', stopped).off('SIGQUIT', quit).off('SIGCONT', look).off('exit', leave)
      leave()
    },
  }
}

/** Reads each key of a terminal as it is typed, or leaves the terminal to others. In the background either would stop this program. */
export function readKeys(stdin: ReadStream, yes: boolean): void {
  if (isForeground()) stdin.setRawMode(yes)
  if (yes) stdin.resume()
  else stdin.pause()
}

/** Does what a terminal does at Ctrl-C or Ctrl-Z, unless it is raw: signals every program of this command line. */
export function signalAll(signal: 'SIGINT' | 'SIGTSTP'): void {
  process.kill(0, signal)
}

/** Whether the terminal is this process's: its group is the one that the terminal belongs to. Only Linux tells. */
function isForeground(): boolean {
  try {
    // After the name in brackets: state, parent, group, session, terminal, and the group that the terminal belongs to.
    const text = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , owner] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return group === owner
  } catch {
    return true
  }
}
