/** A line for people. */
export function errorLine(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** Writes results to stdout, and remembers when nobody reads them any more. */
export class Results {
  #broken = false

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') throw error
      this.#broken = true
    })
  }

  /** Whether the reader went away before everything was written. */
  get broken(): boolean {
    return this.#broken
  }

  line(line: string): void {
    if (!this.#broken) process.stdout.write(`${line}\n`)
  }

  /** One event as a JSON object. */
  event(event: { readonly event: string }): void {
    this.line(JSON.stringify({ v: 1, ...event }))
  }
}
