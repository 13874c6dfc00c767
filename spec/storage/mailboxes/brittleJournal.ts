import { setImmediate } from 'node:timers/promises'
import type { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { OspError } from '../../../lib/errors.ts'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import type { Journal, Piece, Place, Segment } from '../../../lib/storage/journal/journal.ts'

/**
 * The result of an append: it is durable; the disk is full; a flush fails, but this number of records is stored; the
 * process dies after this number of records is written; or it dies when all records but the one at this index are written.
 */
export type Fate =
  | 'durable'
  | 'full'
  | { readonly fails: number }
  | { readonly dies: number }
  | { readonly loses: number }

/** A journal that stores its records in `disk`, asynchronously, and fails as `fates` says. */
export class BrittleJournal implements Journal {
  /** The results of the next appends. Later ones are durable. */
  readonly fates: Fate[] = []
  /** The number of segments that are dropped before the process dies at the next one. */
  drops = Number.POSITIVE_INFINITY
  readonly damages = []
  /** Resolves when the process dies. */
  readonly death: Promise<void>
  readonly #disk: MemoryJournal
  readonly #died: Deferred<void> = deferred()
  #broken: OspError | undefined
  #isDead = false

  constructor(disk: MemoryJournal) {
    this.#disk = disk
    this.death = this.#died.promise
  }

  get segments(): readonly Segment[] {
    return this.#disk.segments
  }

  get segmentBytes(): number {
    return this.#disk.segmentBytes
  }

  /** Whether the process has died. Its calls do not settle any more. */
  get isDead(): boolean {
    return this.#isDead
  }

  /** Ends the process. */
  die(): void {
    this.#isDead = true
    this.#died.resolve()
  }

  async append(records: readonly Buffer[]): Promise<readonly Place[]> {
    await this.#step()
    if (this.#broken) throw this.#broken
    const fate = this.fates.shift() ?? 'durable'
    if (fate === 'durable') return this.#disk.append(records)
    if (fate === 'full') throw new OspError('disk-full')
    const kept = records.filter((_, at) => isKept(at, fate))
    if (kept.length > 0) await this.#disk.append(kept)
    if (!('fails' in fate)) {
      this.die()
      await this.#step()
    }
    this.#broken = new OspError('internal')
    throw this.#broken
  }

  async read(places: readonly Place[]): Promise<readonly (Buffer | undefined)[]> {
    await this.#step()
    return this.#disk.read(places)
  }

  async load(segment: number, from?: number): Promise<Piece> {
    await this.#step()
    return this.#disk.load(segment, from)
  }

  async drop(): Promise<void> {
    await this.#step()
    if (this.drops-- <= 0) {
      this.die()
      await this.#step()
    }
    await this.#disk.drop()
  }

  reportDamage(): void {}

  free(): Promise<number> {
    return this.#disk.free()
  }

  async close(): Promise<void> {}

  async #step(): Promise<void> {
    await setImmediate()
    if (this.#isDead) await new Promise(() => {})
  }
}

/** Returns whether the record at this index of an append is stored. */
function isKept(at: number, fate: Exclude<Fate, string>): boolean {
  if ('loses' in fate) return at !== fate.loses
  return at < ('fails' in fate ? fate.fails : fate.dies)
}
