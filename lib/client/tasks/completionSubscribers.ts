import { OspError } from '../../errors.ts'
import type { Upload } from '../uploads/upload.ts'
import type { Uploads } from '../uploads/uploads.ts'
import { type Ended, toldFailure } from './requests.ts'

interface Waiter {
  readonly tell: (ended: Ended) => void
  /** The uploads that its program has added. */
  readonly ids: Set<number>
}

/** Programs that await the ends of uploads of this one. */
export class CompletionSubscribers {
  readonly #waiters = new Map<number, Waiter>()
  readonly #told = new WeakSet<Upload>()
  readonly #uploads: Uploads
  readonly #changed = (upload: Upload) => this.#look(upload)
  #lastNumber = 0

  constructor(uploads: Uploads) {
    this.#uploads = uploads
    uploads.on('change', this.#changed)
  }

  /** Tells one every end from now on, as long as `signal` lets it; `numbered` is called with its number at first. */
  async wait(numbered: (waiter: number) => void, tell: (ended: Ended) => void, signal: AbortSignal): Promise<void> {
    const number = ++this.#lastNumber
    this.#waiters.set(number, { tell, ids: new Set() })
    numbered(number)
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      else signal.addEventListener('abort', () => resolve(), { once: true })
    })
    this.#waiters.delete(number)
  }

  /** The program with this number has added the upload. */
  claim(waiter: number, id: number): void {
    this.#waiters.get(waiter)?.ids.add(id)
  }

  /** Whether a program that has added the upload waits for its end. */
  awaits(id: number): boolean {
    for (const { ids } of this.#waiters.values()) if (ids.has(id)) return true
    return false
  }

  close(): void {
    this.#uploads.off('change', this.#changed)
  }

  #look(upload: Upload): void {
    const { phase, id } = upload
    if (phase !== 'done' && phase !== 'failed' && phase !== 'cancelled') return
    if (this.#told.has(upload)) return
    this.#told.add(upload)
    upload.done.then(
      (file) => this.#tell({ ended: id, transferred: upload.transferred, file }),
      (error: unknown) =>
        this.#tell({ ended: id, transferred: upload.transferred, why: toldFailure(OspError.from(error)) }),
    )
  }

  #tell(ended: Ended): void {
    for (const { tell } of this.#waiters.values()) tell(ended)
  }
}
