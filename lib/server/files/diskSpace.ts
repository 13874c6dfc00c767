import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type { NewTransfer, Space } from '../../ports/storage.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { ServerContext } from '../app.ts'
import type { ReservationHolder, ServerUpload } from './serverUpload.ts'

/** How long, and for how many written bytes, a measurement is valid. */
const freshMs = 100
const freshBytes = 4 * MiB

/**
 * Shares the disk among uploads and messages. Free space is measured, and the last part of it is a reserve:
 *
 * - an upload is admitted if all of it fits besides the needs of the running uploads, and the whole reserve stays free. So a
 *   running upload can finish, and an upload that does not fit is refused before it uses space;
 * - a running upload stops if less than half of the reserve would stay free, since other programs also write to the
 *   disk;
 * - messages leave a quarter of the reserve free, for records of uploads and for the removal of messages.
 */
export class DiskSpace {
  readonly #context: ServerContext
  /** Serializes admissions: each one includes the needs of the earlier ones. */
  readonly #admissions = new Mutex()
  #space: Space = { free: 0, total: Number.POSITIVE_INFINITY, blockBytes: 1 }
  #measuredAtMs = Number.NEGATIVE_INFINITY
  /** Bytes written since the measurement. */
  #written = 0
  /** The small files that were admitted and may not be written yet, with the space that each needs. */
  readonly #small = new Map<ReservationHolder, number>()
  #measuring: Promise<void> | undefined

  constructor(context: ServerContext) {
    this.#context = context
  }

  /** Bytes that messages leave free, from the last measured size of the disk. */
  get messageReserveBytes(): number {
    return Math.floor(this.#reserve / 4)
  }

  /** Measures the disk. Concurrent calls share one measurement. */
  measure(): Promise<void> {
    this.#measuring ??= this.#measure().finally(() => {
      this.#measuring = undefined
    })
    return this.#measuring
  }

  /**
   * Reserves the space that an upload needs to complete, while it has its instance. Resolves with the error if there is
   * no room: `disk-full`, or `too-large` if the disk could not hold the file even without any other one. `running` yields
   * the holders of reservations. `isSmall`: the files have arrived already, each in one request.
   */
  admit(
    holder: ReservationHolder,
    wants: readonly Pick<NewTransfer, 'user' | 'name' | 'size'>[],
    isSmall: boolean,
    running: () => Iterable<ReservationHolder>,
  ): Promise<OspError | undefined> {
    return this.#admissions.run(async () => {
      const others = () => this.#neededBy(running(), holder)
      const needed = () => wants.reduce((sum, { size }) => sum + this.#wholeBlocks(size), 0)
      // Counts before measuring, so that concurrent writes may be counted twice but are never missed.
      let promised = others()
      const admits = () => this.#admits(holder, needed(), promised, isSmall)
      if (isSmall && this.#isFresh && admits()) return undefined
      await this.measure()
      if (admits()) return undefined
      let held = 0
      for (const { user, name } of wants) held += await this.#context.storage.files.heldBytes(user, name)
      promised = Math.max(promised, others())
      if (this.#admits(holder, Math.max(0, needed() - held), promised, isSmall)) return undefined
      return this.#refusal(
        wants.reduce((sum, { size }) => sum + size, 0),
        promised,
      )
    })
  }

  /** Rejects with `disk-full` if the next bytes of a running upload must not be written. */
  take(bytes: number): Promise<void> | undefined {
    if (!this.#isFresh || this.#available(this.#reserve / 2) < bytes) return this.#take(bytes)
    this.#written += bytes
    return undefined
  }

  async #measure(): Promise<void> {
    for (const small of this.#small.keys()) if (!small.reserved) this.#small.delete(small)
    const unwritten = [...this.#small.values()].reduce((sum, bytes) => sum + bytes, 0)
    const before = this.#written
    this.#space = await this.#context.storage.files.space()
    this.#measuredAtMs = this.#context.platform.clock.now()
    // Bytes that were counted during the measurement may not be included in it.
    this.#written = unwritten + this.#written - before
  }

  async #take(bytes: number): Promise<void> {
    await this.measure()
    if (this.#available(this.#reserve / 2) < bytes) throw new OspError('disk-full')
    this.#written += bytes
  }

  #admits(holder: ReservationHolder, needed: number, promised: number, isSmall: boolean): boolean {
    if (needed > 0 && this.#available(this.#reserve) - promised < needed) return false
    holder.reserve({ diskBytes: needed })
    // Counted now, since the bytes of a small file are not counted when they are written.
    this.#written += needed
    if (isSmall) this.#small.set(holder, needed)
    return true
  }

  /** Whether the last measurement is still valid. */
  get #isFresh(): boolean {
    return this.#written < freshBytes && this.#context.platform.clock.now() - this.#measuredAtMs <= freshMs
  }

  #available(reserve: number): number {
    return this.#space.free - this.#written - reserve
  }

  get #reserve(): number {
    const { reserveBytes, reservePercent } = this.#context.limits
    return Math.floor(Math.min(reserveBytes, (this.#space.total * reservePercent) / 100))
  }

  #wholeBlocks(size: number): number {
    const { blockBytes } = this.#space
    return Math.ceil(size / blockBytes) * blockBytes
  }

  #neededBy(running: Iterable<ReservationHolder>, except: ReservationHolder): number {
    let bytes = 0
    for (const holder of running) {
      const { reserved } = holder
      if (holder === except || !reserved) continue
      const { transfer, size = 0 } = holder as Partial<ServerUpload>
      bytes += transfer ? this.#wholeBlocks(size) - transfer.progress : reserved.diskBytes
    }
    return Math.max(0, bytes)
  }

  #refusal(size: number, promised: number): OspError {
    const { free, total } = this.#space
    const reserve = this.#reserve
    if (this.#wholeBlocks(size) > total - reserve) {
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

const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** Returns a size for people, with up to three digits: `999 bytes`, `1.25 MiB`. */
export function sizeText(bytes: number): string {
  let power = 0
  while (bytes / 1024 ** power >= 999.5 && power < units.length - 1) power++
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${units[power]}`
}
