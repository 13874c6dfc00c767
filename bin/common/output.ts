import { pathBytes } from 'ospd/node'
import { printable } from './printable.ts'
import type { Styles } from './style.ts'

/** A line for people. */
export function errorLine(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** Says a sentence of this program; what could steer a terminal is made visible in it. */
export type Say = (text: string, colour: 'red' | 'yellow') => void

/** Says sentences by `note`, which writes a line to stderr. */
export function sayer(note: (line: string) => void, styles: Styles): Say {
  return (text, colour) => note(`${styles[colour]('osp:')} ${printable(text)}`)
}

/** Writes results to stdout, and remembers when that is not possible any more. */
export class Results {
  /** Resolves when nothing can be printed any more. */
  readonly broken: Promise<void>
  #failure: NodeJS.ErrnoException | undefined

  constructor() {
    this.broken = new Promise((resolve) => {
      process.stdout.on('error', (error) => {
        this.#failure ??= error
        resolve()
      })
    })
  }

  /** Why not everything was printed: the reader went away, or the disk is full; `undefined` if it was. */
  get failure(): string | undefined {
    if (!this.#failure) return undefined
    const { code, message } = this.#failure
    const gone = code === 'EPIPE' || code === 'ECONNRESET'
    return `not all results could be printed${gone ? ', since nobody reads them any more' : `: ${message}`}`
  }

  /** Whether the reader has yet to take some of it. */
  get pending(): boolean {
    return process.stdout.writableLength > 0
  }

  /** A path in it has its own bytes again. */
  line(line: string): void {
    if (!this.#failure) process.stdout.write(pathBytes(`${line}\n`))
  }

  /** One event as a JSON object. */
  event(event: { readonly event: string }): void {
    this.line(jsonLine(event))
  }

  /** Resolves when the system has taken the line, with whether it has. */
  async written(line: string): Promise<boolean> {
    if (this.#failure) return false
    return await new Promise((resolve) => process.stdout.write(`${line}\n`, (error) => resolve(!error)))
  }
}

/** An event as a JSON object. JSON leaves some characters raw that could steer a terminal. */
export function jsonLine(event: { readonly event: string }): string {
  return printable(JSON.stringify({ v: 1, ...event }))
}
