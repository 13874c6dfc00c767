import type { Damage } from '../ports/mailboxes.ts'
import type { ServerLog } from './logEvents.ts'

/** Logs the damage that a store has found in its files, each once. */
export class DamageReporter {
  readonly #kind: 'uploads' | 'mailboxes'
  readonly #store: { damages(): Promise<readonly Damage[]> }
  readonly #log: ServerLog
  #reported = 0

  constructor(kind: 'uploads' | 'mailboxes', store: { damages(): Promise<readonly Damage[]> }, log: ServerLog) {
    this.#kind = kind
    this.#store = store
    this.#log = log
  }

  /** Logs the damage found since the last call. */
  async report(): Promise<void> {
    const damages = await this.#store.damages()
    for (const { file, offset, bytes, atEnd } of damages.slice(this.#reported)) {
      if (atEnd) this.#log({ level: 'warn', event: `${this.#kind}-cut`, file, offset, bytes })
      else this.#log({ level: 'error', event: `${this.#kind}-damaged`, file, offset, bytes })
    }
    this.#reported = Math.max(this.#reported, damages.length)
  }
}
