import { OspError } from '../errors.ts'
import { type Limits, MiB } from '../limits.ts'
import type { Clock } from '../ports/platform.ts'
import type { FileStore, NewTransfer, Space } from '../ports/storage.ts'
import { Serial } from '../runtime/serial.ts'
import { sizeText } from './sizeText.ts'
import type { Upload } from './upload.ts'

/** What was measured counts for so long, and for so many bytes that are written. */
const freshMs = 100
const freshBytes = 4 * MiB

/**
 * Shares the disk among uploads and messages. Free space is measured, and the last part of it is a reserve:
 *
 * - an upload is admitted if all that it needs fits beside what the running uploads need, and the whole reserve stays free;
 *   so an upload that runs can finish, and what does not fit is told so before it takes anything;
 * - a running upload stops if half of the reserve would not stay free, since other programs write to the disk too;
 * - messages leave a quarter, which is for records of uploads and for the removal of messages.
 */
export class DiskSpace {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #files: Pick<FileStore, 'space' | 'heldBytes'>
  /** Admissions, one after another: each counts what those before it need. */
  readonly #admissions = new Serial()
  #space: Space = { free: 0, total: Number.POSITIVE_INFINITY, blockBytes: 1 }
  #measuredAtMs = Number.NEGATIVE_INFINITY
  /** Bytes that were written since. */
  #written = 0
  #measuring: Promise<Space> | undefined

  constructor(limits: Limits, clock: Clock, files: Pick<FileStore, 'space' | 'heldBytes'>) {
    this.#limits = limits
    this.#clock = clock
    this.#files = files
  }

  /** Bytes that messages leave free, by the size of the disk when it was measured last. */
  get messageReserveBytes(): number {
    return Math.floor(this.#reserve / 4)
  }

  /** Asks the system; calls that meet share one answer. */
  measure(): Promise<Space> {
    this.#measuring ??= this.#files.space().then(
      (space) => {
        this.#measuring = undefined
        this.#space = space
        this.#measuredAtMs = this.#clock.now()
        this.#written = 0
        return space
      },
      (error) => {
        this.#measuring = undefined
        throw error
      },
    )
    return this.#measuring
  }

  /**
   * Sets aside what an upload needs to be whole, while it has its instance. Resolves with why there is no room: `disk-full`, or
   * `too-large` if the disk could not hold it even without any other file. `running` are the uploads that have instances.
   */
  admit(
    upload: Upload,
    { size, user, name }: NewTransfer,
    running: () => Iterable<Upload>,
  ): Promise<OspError | undefined> {
    return this.#admissions.run(async () => {
      const others = () => this.#neededBy(running(), upload)
      // Counted before it is measured: what is written meanwhile is then counted twice, never not at all.
      let promised = others()
      await this.measure()
      const needed = this.#wholly(size)
      if (this.#admits(upload, needed, promised)) return undefined
      const held = await this.#files.heldBytes(user, name)
      promised = Math.max(promised, others())
      if (this.#admits(upload, Math.max(0, needed - held), promised)) return undefined
      return this.#refusal(size, promised)
    })
  }

  /** Nothing if the next bytes of a running upload may be written; otherwise rejects with `disk-full` if they may not. */
  take(bytes: number): Promise<void> | undefined {
    if (this.#isFresh && this.#room(this.#reserve / 2) >= bytes) {
      this.#written += bytes
      return undefined
    }
    return this.#take(bytes)
  }

  async #take(bytes: number): Promise<void> {
    await this.measure()
    if (this.#room(this.#reserve / 2) < bytes) throw new OspError('disk-full')
    this.#written += bytes
  }

  #admits(upload: Upload, needed: number, promised: number): boolean {
    if (needed > 0 && this.#room(this.#reserve) - promised < needed) return false
    upload.neededBytes = needed
    return true
  }

  get #isFresh(): boolean {
    return this.#written < freshBytes && this.#clock.now() - this.#measuredAtMs <= freshMs
  }

  #room(reserve: number): number {
    return this.#space.free - this.#written - reserve
  }

  get #reserve(): number {
    const { reserveBytes, reservePercent } = this.#limits
    return Math.floor(Math.min(reserveBytes, (this.#space.total * reservePercent) / 100))
  }

  /** What a file of this size takes: whole blocks. */
  #wholly(size: number): number {
    const { blockBytes } = this.#space
    return Math.ceil(size / blockBytes) * blockBytes
  }

  #neededBy(running: Iterable<Upload>, except: Upload): number {
    let bytes = 0
    for (const upload of running) {
      if (upload === except) continue
      const { transfer, neededBytes, size } = upload
      bytes += transfer ? this.#wholly(size) - transfer.progress : neededBytes
    }
    return Math.max(0, bytes)
  }

  #refusal(size: number, promised: number): OspError {
    const { free, total } = this.#space
    const reserve = this.#reserve
    if (this.#wholly(size) > total - reserve) {
      const text =
        `the file has ${sizeText(size)}, and the disk of the server holds at most ${sizeText(total - reserve)}: ` +
        'ask the operator of the server for a larger one'
      return new OspError('too-large', text, { publicText: text })
    }
    const text =
      `the disk of the server has no room for the ${sizeText(size)} of this file: ${sizeText(free)} are free, of which ` +
      `${sizeText(promised)} are promised to running uploads and ${sizeText(reserve)} are reserved; cancel unfinished ` +
      'uploads, or have files removed'
    return new OspError('disk-full', text, { publicText: text })
  }
}
