import type { ReadStream } from 'node:tty'
import { checkToken } from 'ospd/node'
import { type Input, readInput } from '../common/input.ts'
import { onInterrupt, readKeys, signalAll, useTerminal } from '../common/terminal.ts'

/** The maximum number of characters that are read. Every token is shorter. */
const mostCharacters = 4_096

/** The length of the longest answer, "yes". */
const shownCharacters = 3

/** Matches the end of a line. */
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
 * Reads a token from the terminal, which does not echo it, or from the first line of stdin. Resolves with `undefined` after
 * Ctrl-C. Rejects with OspError `usage` if the text cannot be a token.
 */
export async function promptToken(prompt: string): Promise<string | undefined> {
  const { stdin } = process
  const line = await unlessInterrupted((stop) =>
    stdin.isTTY ? typed(stdin, prompt, stop) : firstLine(readInput(), stop.signal),
  )
  return line === undefined ? undefined : checkToken(line.trim(), stdin.isTTY ? 'the typed text' : 'the line on stdin')
}

/** Asks a question at the terminal. Resolves with whether the answer is yes, or with `undefined` after Ctrl-C. */
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

/** Reads a typed line up to Enter, and echoes it if `isShown`. Restores the terminal in every case. */
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

/** A line while it is being typed. */
class TypedLine {
  text = ''

  /** The part that is echoed. A longer text can be a token that was pasted too early. */
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
