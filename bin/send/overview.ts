import type { ErrorCode, Upload } from 'ospd'
import type { BarState } from './barLine.ts'

/** A file that is waiting or being transferred. */
export interface TransferredFile {
  readonly path: string
  /** Size in bytes, if it is known before the transfer begins. */
  readonly size: number | undefined
  readonly upload: Pick<Upload, 'phase' | 'error' | 'progress' | 'transferred'>
}

/** The time after which a file gets a bar. The bar of a faster file could not be read. */
const leastActiveMs = 250

/** The values are set when the file is first measured while it is active. */
interface Row {
  speed: Speed | undefined
  activeSinceMs: number | undefined
}

/** Tracks the progress of each file and of all files together. */
export class Overview<T extends TransferredFile = TransferredFile> {
  readonly #rows = new Map<T, Row>()
  readonly #speed = new Speed()
  /** The number of files, including those that have ended. */
  files = 0
  isComplete = false
  /** The time of the next attempt to connect, if there is no connection. */
  nextTryMs: number | undefined
  #endedFiles = 0
  #endedBytes = 0
  #transferredByEnded = 0

  add(task: T): void {
    this.#rows.set(task, { speed: undefined, activeSinceMs: undefined })
    this.files++
  }

  end(task: T): void {
    if (!this.#rows.delete(task)) return
    this.#endedFiles++
    this.#endedBytes += sizeOf(task)
    this.#transferredByEnded += task.upload.transferred
  }

  /** Yields the files with a bar: those that are being sent, or were until the connection broke or the server rejected them. */
  *shown(nowMs: number): Generator<T> {
    for (const [task, { activeSinceMs = nowMs }] of this.#rows) {
      if (isActive(task) && nowMs - activeSinceMs >= leastActiveMs) yield task
    }
  }

  measure(nowMs: number): void {
    let all = this.#transferredByEnded
    for (const [task, row] of this.#rows) {
      const { transferred } = task.upload
      all += transferred
      if (!isActive(task)) continue
      row.activeSinceMs ??= nowMs
      row.speed ??= new Speed()
      row.speed.note(transferred, nowMs)
    }
    this.#speed.note(all, nowMs)
  }

  stateOf(task: T): BarState {
    const { upload, path } = task
    const { acknowledged, durable } = upload.progress
    const size = sizeOf(task)
    const bytesPerSecond = this.#rows.get(task)?.speed?.bytesPerSecond
    return { title: path, done: acknowledged, durable, size, bytesPerSecond, note: noteOf(task) }
  }

  total(nowMs: number): BarState {
    let done = this.#endedBytes
    let durable = done
    let size = done
    let isSizeKnown = true
    for (const task of this.#rows.keys()) {
      const { progress } = task.upload
      done += progress.acknowledged
      durable += progress.durable
      size += sizeOf(task)
      isSizeKnown &&= progress.size > 0 || task.size !== undefined
    }
    const shortTitle = `${this.#endedFiles}/${this.files}${this.isComplete ? '' : '+'}`
    const title = `${shortTitle.replace('/', ' of ')} ${this.files === 1 ? 'file' : 'files'}`
    const { bytesPerSecond } = this.#speed
    const state = { title, shortTitle, done, durable, size, isSizeKnown, bytesPerSecond, bold: true } as const
    return { ...state, note: this.#note(nowMs) }
  }

  #note(nowMs: number): string | undefined {
    if (this.nextTryMs !== undefined) {
      const seconds = Math.ceil((this.nextTryMs - nowMs) / 1_000)
      return seconds > 0 ? `next try in ${seconds} s` : 'connecting'
    }
    const tasks = [...this.#rows.keys()]
    return tasks.length > 0 && tasks.every(({ upload }) => upload.phase === 'paused') ? 'paused' : undefined
  }
}

const sizeOf = (task: TransferredFile) => task.upload.progress.size || (task.size ?? 0)

function isActive({ upload }: TransferredFile): boolean {
  const { phase, error, progress } = upload
  if (phase === 'paused') return progress.acknowledged > 0
  if (phase === 'waiting') return error !== undefined
  return phase === 'sending' || phase === 'verifying' || phase === 'cancelling'
}

function noteOf({ upload: { phase, error } }: TransferredFile): string | undefined {
  if (phase === 'sending') return undefined
  if (phase !== 'waiting') return phase
  return (error && notes[error.code]) ?? 'waiting'
}

const notes: { readonly [K in ErrorCode]?: string } = {
  'no-idle-instance': 'server busy',
  'too-many-uploads': 'server busy',
  'disk-full': 'server disk full',
  'quota-exceeded': 'quota used up',
  'file-busy': 'sent elsewhere',
}

const everyMs = 100
/** The speed covers the last five seconds, or the last two steps if a step takes longer. */
const overMs = 5_000
const leastSteps = 2
/** A shorter span gives no meaningful speed. */
const leastMs = 400

/** Measures the rate at which a byte count rises, even if it rises in large steps seconds apart. */
export class Speed {
  /** The first sample, then each sample with a higher count. */
  readonly #samples: { atMs: number; bytes: number }[] = []
  #nowMs = 0

  note(bytes: number, nowMs: number): void {
    this.#nowMs = nowMs
    const last = this.#samples.at(-1)
    if (last && (bytes === last.bytes || nowMs - last.atMs < everyMs)) return
    // The measurement restarts after a pause.
    if (this.bytesPerSecond === 0) this.#samples.length = 0
    this.#samples.push({ atMs: nowMs, bytes })
    while (this.#samples.length > leastSteps + 1 && nowMs - (this.#samples[1]?.atMs ?? nowMs) > overMs) {
      this.#samples.shift()
    }
  }

  /** Returns bytes a second, `undefined` until the speed is known, or 0 if the next step is long overdue. */
  get bytesPerSecond(): number | undefined {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || !last || last.atMs - first.atMs < leastMs) return undefined
    const elapsedMs = last.atMs - first.atMs
    const stepMs = elapsedMs / (this.#samples.length - 1)
    const sinceMs = this.#nowMs - last.atMs
    if (sinceMs > Math.max(overMs, 3 * stepMs)) return 0
    return ((last.bytes - first.bytes) / (elapsedMs + Math.max(0, sinceMs - stepMs))) * 1_000
  }
}
