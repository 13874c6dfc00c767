import assert from 'node:assert/strict'
import type { Running } from './processes.ts'

/** A program that is started again whenever it was killed. */
export class MortalProgram {
  readonly #start: () => Running
  running: Running

  constructor(start: () => Running) {
    this.#start = start
    this.running = start()
  }

  /** Kills it, lets `between` pass, and starts it again. It may have ended by itself, if all was well. */
  async killed(between: () => Promise<unknown>): Promise<void> {
    const { code } = this.running.child.exitCode === null ? { code: 0 } : await this.running.ended
    assert.equal(code, 0, `it ended by itself: ${this.running.stderr}`)
    await this.running.kill()
    await between()
    this.running = this.#start()
  }
}
