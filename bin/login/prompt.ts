import { once } from 'node:events'
import { checkToken } from 'ospd/node'
import { readInput } from '../common/input.ts'
import { controlKeys, onInterrupt, readKeys, signalAll } from '../common/terminal.ts'

/** The maximum number of characters that are read. Every token is shorter. */
const mostCharacters = 4_096

/** The length of the longest answer, "yes". */
const shownCharacters = 3

const lineEnd = /[\r\n]/u

const { ctrlC, ctrlZ, ctrlD, ctrlU, backspace, delete: del } = controlKeys

/** Reads a token: typed without echo, or the first line of stdin; `undefined` after Ctrl-C. Rejects with OspError. */
export async function promptToken(prompt: string): Promise<string | undefined> {
  const { isTTY } = process.stdin
  const line = await unlessInterrupted((stop) => (isTTY ? typed(prompt, stop) : firstLine(stop.signal)))
  return line === undefined ? undefined : checkToken(line.trim(), isTTY ? 'the typed text' : 'the line on stdin')
}

/** Asks a question at the terminal. Resolves with whether the answer is yes, or with `undefined` after Ctrl-C. */
export async function promptConfirmation(question: string): Promise<boolean | undefined> {
  const line = await unlessInterrupted((stop) => typed(question, stop, true))
  return line === undefined ? undefined : /^y(?:es)?$/iu.test(line.trim())
}

async function unlessInterrupted(read: (stop: AbortController) => Promise<string>): Promise<string | undefined> {
  const stop = new AbortController()
  using _ = onInterrupt(() => stop.abort())
  const line = await read(stop)
  return stop.signal.aborted ? undefined : line
}

/** Reads a typed line up to Enter. Echoes the beginning if `isShown`; a longer text can be a token that was pasted too early. */
async function typed(prompt: string, stop: AbortController, isShown = false): Promise<string> {
  const { stdin, stderr } = process
  let line = ''
  const ended = new AbortController()
  const end = () => ended.abort()
  stop.signal.addEventListener('abort', end, { once: true })
  stdin.on('end', end)
  const press = (key: string) => {
    if (ended.signal.aborted) return
    if (lineEnd.test(key) || key === ctrlD) end()
    else if (key === ctrlU) line = ''
    else if (key === backspace || key === del) line = line.slice(0, -1)
    else if (line.length < mostCharacters) line += key
  }
  const read = (text: string) => {
    if (text.includes(ctrlC)) return stop.abort()
    if (text.includes(ctrlZ)) return signalAll('SIGTSTP')
    for (const key of text) press(key)
    if (isShown && !ended.signal.aborted && line.length <= shownCharacters) stderr.write(text.replace(/[^\w ]/gu, ''))
  }
  const keys = readKeys(stdin, read, () => stderr.write(prompt + (isShown ? line.slice(0, shownCharacters) : '')))
  await once(ended.signal, 'abort')
  keys[Symbol.dispose]()
  stderr.write('\n')
  return line
}

/** Returns the first line of stdin. Reads no more than necessary. */
async function firstLine(signal: AbortSignal): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  try {
    for await (const part of readInput(signal)) {
      text += decoder.decode(part, { stream: true })
      if (lineEnd.test(text) || text.length >= mostCharacters) break
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  return text.split(lineEnd, 1)[0] ?? ''
}
