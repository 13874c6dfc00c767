import type { VirtualTime } from './time.ts'

/** The record of a run: its events, one line each with the virtual time, and the first violated invariant. */
export class Trace {
  readonly #time: VirtualTime
  readonly #lines: string[] = []
  #failure: string | undefined

  constructor(time: VirtualTime) {
    this.#time = time
  }

  get lines(): readonly string[] {
    return this.#lines
  }

  get failure(): string | undefined {
    return this.#failure
  }

  get failed(): boolean {
    return this.#failure !== undefined
  }

  /** Adds a line. */
  tell(line: string): void {
    this.#lines.push(this.#stamped(line))
  }

  /** Reports a violated invariant. */
  fail(failure: string): void {
    this.tell(`FAULT: ${failure}`)
    this.#failure ??= failure
  }

  /** Runs `act`, which returns a heading, and puts the heading before the lines that `act` has added. */
  headed(act: () => string | undefined): void {
    const at = this.#lines.length
    const heading = act()
    if (heading !== undefined) this.#lines.splice(at, 0, this.#stamped(heading))
  }

  #stamped(line: string): string {
    return `${this.#time.now().toFixed(3).padStart(11)} ${line}`
  }
}
