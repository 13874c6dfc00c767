import type { ReadStream } from 'node:tty'
import { checkToken } from 'ospd/node'
import { type Input, readInput } from '../common/input.ts'
import { onInterrupt, readKeys, signalAll, useTerminal } from '../common/terminal.ts'

/** Characters that are read at most; no token is that long. */
const mostCharacters = 4_096

/** Characters that the longest answer has. */
const shownCharacters = 3

/** Where a line ends. */
const lineEnd = /[\r\n]/u

const keys = {
  ctrlC: '\u0003',
  ctrlZ: '\u001A',
  ctrlD: '\u0004',
  backspace: '\b',
  ctrlU: '\u0015',
  delete: '\u007F',
} as const

/**
 * The token that is typed on a terminal, which does not show it, or that is the first line of stdin; `undefined` if somebody
 * has interrupted it. Rejects with OspError `usage` for what can't be a token.
 */
export async function promptToken(prompt: string): Promise<string | undefined> {
  const { stdin } = process
  const line = await unlessInterrupted((stop) =>
    stdin.isTTY ? typed(stdin, prompt, stop) : firstLine(readInput(), stop.signal),
  )
  return line === undefined ? undefined : checkToken(line.trim(), stdin.isTTY ? 'what was typed' : 'the line on stdin')
}

/** Whether somebody says yes on the terminal, which shows it; `undefined` if somebody has interrupted it. */
export async function promptConfirmation(question: string): Promise<boolean | undefined> {
  const line = await unlessInterrupted((stop) => typed(process.stdin, question, stop, true))
  return line === undefined ? undefined : /^y(?:es)?$/iu.test(line.trim())
}

async function unlessInterrupted(read: (stop: AbortController) => Promise<string>): Promise<string | undefined> {
  const stop = new AbortController()
  const interrupts = onInterrupt(() => stop.abort())
  try {
    const line = await read(stop)
    return stop.signal.aborted ? undefined : line
  } finally {
    interrupts[Symbol.dispose]()
  }
}

/** What is typed up to Enter, and shown if that `isShown`. The terminal is as it was afterwards, whatever ends this. */
async function typed(stdin: ReadStream, prompt: string, stop: AbortController, isShown = false): Promise<string> {
  const line = new TypedLine()
  stdin.setEncoding('utf8')
  const terminal = useTerminal({
    take() {
      // Otherwise the terminal would echo the input, including input typed before the prompt.
      readKeys(stdin, true)
      process.stderr.write(isShown ? prompt + line.shown : prompt)
    },
    restore: () => readKeys(stdin, false),
  })
  try {
    await new Promise<void>((resolve) => {
      stop.signal.addEventListener('abort', () => resolve(), { once: true })
      stdin.on('end', resolve).on('data', (text: string) => {
        if (text.includes(keys.ctrlC)) stop.abort()
        else if (text.includes(keys.ctrlZ)) signalAll('SIGTSTP')
        else if (line.take(text)) resolve()
        else if (isShown && line.text.length <= shownCharacters) process.stderr.write(text.replace(/[^\w ]/gu, ''))
      })
    })
  } finally {
    terminal[Symbol.dispose]()
    stdin.removeAllListeners('data').pause()
    process.stderr.write('\n')
  }
  return line.text
}

/** A line that is being typed. */
class TypedLine {
  text = ''

  /** What an answer shows: what is longer can be a token that was pasted too early. */
  get shown(): string {
    return this.text.slice(0, shownCharacters)
  }

  /** Returns whether the line is complete. */
  take(typed: string): boolean {
    for (const key of typed) {
      if (lineEnd.test(key) || key === keys.ctrlD) return true
      if (key === keys.ctrlU) this.text = ''
      else if (key === keys.backspace || key === keys.delete) this.text = this.text.slice(0, -1)
      else if (this.text.length < mostCharacters) this.text += key
    }
    return false
  }
}

/** Returns the first line of stdin. Reads no more than necessary. */
async function firstLine(stdin: Input, signal: AbortSignal): Promise<string> {
  signal.addEventListener('abort', () => stdin.destroy(), { once: true })
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const part of stdin) {
      text += decoder.decode(part, { stream: true })
      if (lineEnd.test(text) || text.length >= mostCharacters) break
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return text.split(lineEnd, 1)[0] ?? ''
}
