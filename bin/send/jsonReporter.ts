import type { OspError, SentFile } from 'ospd'
import { LinkEvents } from '../common/linkEvents.ts'
import type { SendEvent } from './events.ts'
import { againOf } from './isRefusal.ts'
import type { Reporter, Task, Untaken } from './reporter.ts'
import type { Tally } from './tally.ts'

/** Reports events as docs/json.md describes them. */
export class JsonReporter extends LinkEvents implements Reporter {
  readonly #emit: (event: SendEvent) => void

  constructor(server: string, emit: (event: SendEvent) => void) {
    super(server, emit)
    this.#emit = emit
  }

  joined(text: string): void {
    this.#emit({ event: 'joined', text })
  }

  nothing(): void {}

  paused(tasks: readonly Task[]): void {
    for (const task of tasks) this.#emit({ event: 'paused', ...named(task) })
  }

  added(): void {}

  complete(): void {}

  stored({ path, upload }: Task, { name, storedName, size, algorithm, digest }: SentFile): void {
    const sent = upload.contentBytes
    this.#emit({ event: 'stored', task: upload.id, file: path, name, storedName, size, algorithm, digest, sent })
  }

  failed({ path, upload }: Task | Untaken, why: OspError): void {
    const { code, message: text } = why
    const task = upload?.id ?? null
    const sent = upload?.contentBytes ?? 0
    const name = upload?.name ?? null
    this.#emit({ event: 'failed', task, file: path, name, code, text, again: againOf(why), sent })
  }

  cancelled(task: Task): void {
    this.#emit({ event: 'cancelled', ...named(task) })
  }

  passed(): void {}

  skipped(file: string, text: string): void {
    this.#emit({ event: 'skipped', file, text })
  }

  refused({ path, upload }: Task, { code, message: text }: OspError): void {
    this.#emit({ event: 'refused', task: upload.id, file: path, name: upload.name, code, text })
  }

  end({ stored, failed, left, unfinished, size, sent, exitCode }: Tally, seconds: number): void {
    const rounded = Math.round(seconds * 1_000) / 1_000
    const counts = { stored, failed: failed - left, unfinished: unfinished + left }
    this.#emit({ event: 'summary', ...counts, size, sent, seconds: rounded, exitCode })
  }
}

const named = ({ path, upload }: Task) => ({ task: upload.id, file: path, name: upload.name })
