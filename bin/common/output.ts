import { writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from 'ospd'
import { pathBytes } from 'ospd/node'
import type { PrintedEvent } from './events.ts'
import { isClosed } from './input.ts'
import { hideDatabaseUrls, secrets } from './secrets.ts'
import { printable, type Styles, stylesFor } from './text.ts'
import { UsageError } from './usage.ts'

/** How long an ending process waits for the reader of its log and, after an interrupt, of its results. */
export const readerMs = 1_000

/** Maximum number of bytes that wait for a slow reader of stderr. Further lines are dropped and counted. */
const mostWaitingBytes = 1024 * 1024

const newline = 0x0a

type WriteCallback = (error?: Error | null) => void

/** Writes to stdout or stderr. Reports errors only to the callback, unlike Node, even after a partial write to a file. */
class Output {
  readonly #fd: 1 | 2
  readonly #stream: NodeJS.WriteStream
  #unfinished = 0
  #gathered: (string | Buffer)[] = []
  #callbacks: WriteCallback[] = []
  #ends: (() => void)[] = []
  #isTorn = false

  constructor(fd: 1 | 2) {
    this.#fd = fd
    this.#stream = fd === 1 ? process.stdout : process.stderr
    // Without a listener the event would end the process. The callback of the write receives the same error.
    this.#stream.on('error', () => {})
    process.on('exit', () => this.flush())
  }

  get waitingBytes(): number {
    return this.#stream.writableLength
  }

  /** Calls `done` when the system has accepted the whole text, or with the error. */
  protected put(text: string | Buffer, done: WriteCallback): void {
    this.#unfinished++
    if (this.#fd === 1 && !this.#stream.isTTY) this.#gather(text, done)
    else this.#write(text, this.#ended([done]))
  }

  async drained(): Promise<void> {
    this.flush()
    if (this.#unfinished > 0) await new Promise<void>((resolve) => this.#ends.push(resolve))
  }

  #ended(callbacks: readonly WriteCallback[]): WriteCallback {
    return (error) => {
      for (const done of callbacks) done(error)
      this.#unfinished -= callbacks.length
      if (this.#unfinished === 0) for (const end of this.#ends.splice(0)) end()
    }
  }

  /**
   * Gathers the results of this turn of the event loop for one system call. The list of tasks is written in a later turn: a result
   * is printed before its task is done, so that a killed program repeats it. On a terminal each line is written at once, since
   * bars are drawn around it, and each line of stderr is written after the results before it.
   */
  #gather(text: string | Buffer, done: WriteCallback): void {
    if (this.#gathered.length === 0) process.nextTick(() => this.flush())
    this.#gathered.push(text)
    this.#callbacks.push(done)
  }

  /** Writes the gathered text. */
  flush(): void {
    if (this.#gathered.length === 0) return
    const parts = this.#gathered
    const ended = this.#ended(this.#callbacks)
    this.#gathered = []
    this.#callbacks = []
    const [first = ''] = parts
    if (parts.length === 1) this.#write(first, ended)
    else if (parts.every((part) => typeof part === 'string')) this.#write(parts.join(''), ended)
    else this.#write(Buffer.concat(parts.map((part) => Buffer.from(part as string))), ended)
  }

  #write(text: string | Buffer, ended: WriteCallback): void {
    if (this.#stream instanceof Socket) this.#stream.write(text, ended)
    else this.#toFile(text, ended)
  }

  #toFile(text: string | Buffer, ended: WriteCallback): void {
    const content = typeof text === 'string' ? Buffer.from(text) : text
    const bytes = this.#isTorn ? Buffer.concat([Buffer.of(newline), content]) : content
    let at = 0
    let failure: Error | undefined
    try {
      while (at < bytes.length) at += writeSync(this.#fd, bytes, at)
    } catch (error) {
      failure = error as Error
    }
    this.#isTorn = failure !== undefined && (this.#isTorn || at > 0)
    ended(failure)
  }
}

/** Writes lines to stderr. Counts the lines that cannot be written; the next line that can be written says how many. */
class ErrorLines extends Output {
  #dropped = 0
  /** Returns the line that reports how many lines were dropped before it. */
  describeDropped = (count: number) =>
    `${count === 1 ? '1 line' : `${count} lines`} before this one could not be written`

  write(line: string): void {
    results.flush()
    if (this.waitingBytes > mostWaitingBytes) this.#dropped++
    else this.#putLines([secrets.hide(hideDatabaseUrls(line))])
  }

  #putLines(lines: readonly string[]): void {
    const dropped = this.#dropped
    this.#dropped = 0
    const all = dropped > 0 ? [this.describeDropped(dropped), ...lines] : lines
    this.put(`${all.join('\n')}\n`, (error) => {
      if (error) this.#dropped += dropped + lines.length
      else if (this.#dropped > 0 && this.waitingBytes === 0) this.#putLines([])
    })
  }
}

export const stderr = new ErrorLines(2)

/** Resolves with true when `done` resolves, or with false after `mostMs`. */
export async function within(mostMs: number, done: Promise<void>): Promise<boolean> {
  const over = new AbortController()
  try {
    return await Promise.race([done.then(() => true), pause(mostMs, false, { signal: over.signal })])
  } finally {
    over.abort()
  }
}

/** Writes a line to stderr. */
export const errorLine = (line: string): void => stderr.write(line)

/** Prints a sentence. Escapes characters that could control a terminal. */
export type StatusPrinter = (text: string, colour: 'red' | 'yellow') => void

/** Returns a printer that writes each sentence with `note`, with the name of the program before it. */
export function statusPrinter(note: (line: string) => void, styles: Styles, program = 'osp'): StatusPrinter {
  return (text, colour) => note(`${styles[colour](`${program}:`)} ${printable(secrets.hide(text))}`)
}

/** Prints a sentence on stderr. */
export const say: StatusPrinter = statusPrinter(errorLine, stylesFor(process.stderr))

/** Says on stderr why a command prints no results, unless `--quiet` or `--json` is set or stdout is not a terminal. */
export function sayEmpty(text: string, { quiet = false, program = 'osp' }): void {
  if (!process.stdout.isTTY || quiet || results.json) return
  statusPrinter(errorLine, stylesFor(process.stderr), program)(text, 'yellow')
}

/** Returns a log that prints only the first entry of `event`: `what`, and the text of the entry. */
export function sayOnce(event: string, what: string, colour: 'red' | 'yellow'): Log {
  let isReported = false
  return (entry) => {
    if (entry.event !== event || isReported) return
    isReported = true
    say(`${what}: ${entry.text}`, colour)
  }
}

/** Writes results to stdout. Stops after the first write that fails. */
class ResultOutput extends Output {
  readonly #broken = new AbortController()
  /** Aborts when a write has failed. The reason is the error. */
  readonly broken: AbortSignal = this.#broken.signal
  readonly #check: WriteCallback = (error) => {
    if (error) this.#broken.abort(error)
  }
  json = false
  /** Whether the command only lists. Then it is not an error if the reader of a pipe stops reading. */
  onlyLists = false

  /** The reason to report why results are missing, or `undefined`. */
  get failure(): string | undefined {
    if (!this.broken.aborted) return undefined
    const { code, message } = this.broken.reason as NodeJS.ErrnoException
    const isGone = code === 'EPIPE' || code === 'ECONNRESET'
    if (isGone && this.onlyLists) return undefined
    return `not all results could be printed: ${isGone ? 'the reader closed the pipe' : message}`
  }

  /** Writes a line, with the original bytes of the paths in it. */
  line(line: string): void {
    if (!this.broken.aborted) this.put(pathBytes(`${secrets.hide(line)}\n`), this.#check)
  }

  event(event: PrintedEvent): void {
    this.line(jsonLine(event))
  }

  /** Writes a result: with `--json` as an event, otherwise as a line. */
  print(event: PrintedEvent, line: string): void {
    if (this.json) this.event(event)
    else this.line(line)
  }

  /** Writes content unchanged. Resolves with whether the system has accepted it. */
  content(bytes: Uint8Array): Promise<boolean> {
    return this.#putResult(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  }

  /** Like `print`, but hides no token. Resolves with whether the system has accepted the line. */
  printed(event: PrintedEvent, line: string): Promise<boolean> {
    return this.#putResult(`${this.json ? jsonLine(event) : line}\n`)
  }

  async #putResult(text: string | Buffer): Promise<boolean> {
    if (this.broken.aborted) return false
    return await new Promise((resolve) => {
      this.put(text, (error) => {
        this.#check(error)
        resolve(!error)
      })
    })
  }
}

/** Throws UsageError if stdout is closed. `lost` names the results that would be lost. */
export function checkStdout(lost: string): void {
  if (!isClosed(1)) return
  throw new UsageError(
    `stdout is closed, or is /dev/null opened for reading: ${lost} cannot be printed; redirect it to a file or a pipe`,
  )
}

/** The output of results, shared by all commands. */
export const results = new ResultOutput(1)

/** Formats an event as a JSON object. Escapes characters that JSON permits and that could control a terminal. */
export function jsonLine(event: PrintedEvent): string {
  return printable(JSON.stringify({ v: 1, ...event }))
}
