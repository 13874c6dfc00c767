import { readFileSync } from 'node:fs'
import { isatty, type ReadStream } from 'node:tty'
import { exitCodes } from './usage.ts'

/** The control characters of a terminal in raw mode. */
export const controlKeys = {
  ctrlC: '\u0003',
  ctrlD: '\u0004',
  backspace: '\b',
  ctrlU: '\u0015',
  ctrlZ: '\u001A',
  delete: '\u007F',
} as const

/** How often a program checks whether it is in the foreground; a shell does not always send a signal. */
const lookMs = 500

/** Uses the terminal while in the foreground. `restore` is called before each stop or end, except by SIGKILL. */
export function useTerminal({ take, restore }: Readonly<Record<'take' | 'restore', () => void>>): Disposable {
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
  // The last listener raises the signal again for its default action. The system does not stop a process without a
  // job-control shell.
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

/** Reads keys from the terminal while in the foreground. `begin` is called each time that reading begins. */
export function readKeys(stdin: ReadStream, read: (text: string) => void, begin: () => void = () => {}): Disposable {
  stdin.setEncoding('utf8').on('data', read).pause()
  const terminal = useTerminal({
    take() {
      // Otherwise the terminal would echo the input, including input typed before.
      stdin.setRawMode(true)
      stdin.resume()
      begin()
    },
    restore() {
      // The system would stop a program in the background that changes the mode of the terminal.
      if (isForeground()) stdin.setRawMode(false)
      stdin.pause()
    },
  })
  return {
    [Symbol.dispose]() {
      terminal[Symbol.dispose]()
      stdin.off('data', read)
    },
  }
}

/** Signals every program of this command line, as a terminal outside raw mode does at Ctrl-C or Ctrl-Z. */
export const signalAll = (signal: 'SIGINT' | 'SIGTSTP') => process.kill(0, signal)

/** Returns whether this process is in the foreground process group of its terminal. Systems other than Linux: true. */
function isForeground(): boolean {
  try {
    // Fields after the name in parentheses: state, parent, group, session, terminal, and the foreground group of the
    // terminal.
    const text = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , owner] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return group === owner
  } catch {
    return true
  }
}

/** Returns whether this process continues after SIGHUP: neither stdin nor stdout is a terminal. */
const outlivesTerminal = () => !isatty(0) && !isatty(1)

/** Ignores SIGHUP if neither stdin nor stdout is a terminal, as with `nohup`: Node resets signals that were ignored. */
export function ignoreHangup(): void {
  if (outlivesTerminal()) process.on('SIGHUP', () => {})
}

/** Calls `interrupt` at the first Ctrl-C, SIGTERM, or SIGHUP of a terminal. The second one ends the process. */
export function onInterrupt(interrupt: () => void): Disposable {
  let times = 0
  const interrupted = () => {
    if (++times > 1) process.exit(exitCodes.interrupted)
    interrupt()
  }
  const signals = ['SIGINT', 'SIGTERM', ...(outlivesTerminal() ? [] : ['SIGHUP'])]
  for (const signal of signals) process.on(signal, interrupted)
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, interrupted)
    },
  }
}
