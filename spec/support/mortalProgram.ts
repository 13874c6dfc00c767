import assert from 'node:assert/strict'
import type { Running } from './processes.ts'

/** A program that is restarted after each kill. */
export class MortalProgram {
  readonly #start: () => Running
  running: Running

  constructor(start: () => Running) {
    this.#start = start
    this.running = start()
  }

  /** Kills the program, awaits `between`, and restarts it. The program may have exited successfully before. */
  async killed(between: () => Promise<unknown>): Promise<void> {
    const { code } = this.running.child.exitCode === null ? { code: 0 } : await this.running.ended
    assert.equal(code, 0, `it exited before the kill: ${this.running.stderr}`)
    await this.running.kill()
    await between()
    this.running = this.#start()
  }
}
