import type { OspError, SentFile } from 'ospd'
import type { SendEvent } from './events.ts'
import type { Reporter, Task, Untaken } from './reporter.ts'
import type { Tally } from './tally.ts'

/** Reports events as docs/json.md describes them. */
export class JsonReporter implements Reporter {
  readonly #emit: (event: SendEvent) => void
  readonly #server: string

  constructor(server: string, emit: (event: SendEvent) => void) {
    this.#server = server
    this.#emit = emit
  }

  added(): void {}

  complete(): void {}

  stored({ path, upload }: Task, { name, storedName, size, algorithm, digest }: SentFile): void {
    const sent = upload.contentBytes
    this.#emit({ event: 'stored', task: upload.id, file: path, name, storedName, size, algorithm, digest, sent })
  }

  failed({ path, upload }: Task | Untaken, { code, message: text, again }: OspError): void {
    const task = upload?.id ?? null
    const sent = upload?.contentBytes ?? 0
    this.#emit({ event: 'failed', task, file: path, name: upload?.name ?? null, code, text, again, sent })
  }

  skipped(file: string, text: string): void {
    this.#emit({ event: 'skipped', file, text })
  }

  refused({ path, upload }: Task, { code, message: text }: OspError): void {
    this.#emit({ event: 'refused', task: upload.id, file: path, name: upload.name, code, text })
  }

  waiting({ code, message: text }: OspError, retryMs: number): void {
    this.#emit({ event: 'waiting', server: this.#server, code, text, retryMs: Math.round(retryMs) })
  }

  online(): void {
    this.#emit({ event: 'online', server: this.#server })
  }

  /** Each file fails with the reason. */
  gaveUp(): void {}

  end({ stored, failed, unfinished, size, sent, exitCode }: Tally, seconds: number): void {
    const rounded = Math.round(seconds * 1_000) / 1_000
    this.#emit({ event: 'summary', stored, failed, unfinished, size, sent, seconds: rounded, exitCode })
  }
}
