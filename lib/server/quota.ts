import { OspError } from '../errors.ts'
import { fixed, type Limits } from '../limits.ts'
import type { Platform } from '../ports/platform.ts'
import type { NewTransfer, OnConflict, Storage } from '../ports/storage.ts'
import type { DiskSpace } from './diskSpace.ts'
import { sizeText } from './sizeText.ts'
import type { Upload } from './upload.ts'
import type { Uploads } from './uploads.ts'

/** How long stored bytes are remembered: somebody may remove or add files beside the server. */
const countMs = 600_000

interface Count {
  /** Stored bytes of the user. */
  bytes: number
  atMs: number
}

export interface QuotaOptions {
  readonly limits: Limits
  readonly platform: Platform
  readonly storage: Storage
  readonly onConflict: OnConflict
  readonly disk: DiskSpace
}

/**
 * Bounds the size of a file, what it takes of the disk, and the bytes of a user: what is stored, what the uploads that instances receive will add to it,
 * and what lies there of his other unfinished ones. A refusal rests on files that were counted for it.
 */
export class Quota {
  readonly #options: QuotaOptions
  readonly #uploads: Uploads
  readonly #disk: DiskSpace
  readonly #bounded: boolean
  /** By user, the longest uncounted first. */
  readonly #counts = new Map<string, Count>()
  /** Counts under way; `bytes` are what was stored since they began. */
  readonly #counting = new Map<string, { bytes: number; readonly done: Promise<Count> }>()

  constructor(options: QuotaOptions, uploads: Uploads) {
    this.#options = options
    this.#uploads = uploads
    this.#disk = options.disk
    this.#bounded = options.limits.userBytes < Number.MAX_SAFE_INTEGER
  }

  /** Throws OspError `too-large` for a file that is larger than any may be. */
  checkSize({ size }: NewTransfer): void {
    const { fileBytes } = this.#options.limits
    if (size <= fileBytes) return
    const text = sizeText(size) === sizeText(fileBytes) ? (bytes: number) => `${bytes} bytes` : sizeText
    const has = size > fixed.mostFileBytes ? `more than ${fixed.mostFileBytes} bytes` : text(size)
    const advice = fileBytes < fixed.mostFileBytes ? ', or ask for a higher limit' : ''
    throw new OspError(
      'too-large',
      `the file has ${has}, and this server takes files of at most ${text(fileBytes)}: send it in smaller parts${advice}`,
    )
  }

  /**
   * Reserves room in the quota of the user and on the disk for an upload that has its instance. Rejects with OspError
   * `quota-exceeded`, `disk-full` or `too-large` if there is none.
   */
  async admit(upload: Upload, want: NewTransfer): Promise<void> {
    const refusal = (await this.#userRefusal(upload, want)) ?? (await this.#diskRefusal(upload, want))
    // The file is already stored, but the client has not received the answer.
    if (refusal && !(await this.#options.storage.transfers.completed(want))) throw refusal
  }

  async #diskRefusal(upload: Upload, want: NewTransfer): Promise<OspError | undefined> {
    const refusal = await this.#disk.admit(upload, want, () => this.#uploads.receiving())
    if (!refusal) return undefined
    // A verified file is complete, or already published.
    const unfinished = await this.#unfinished(want.user)
    return unfinished.some(({ name, verified }) => name === want.name && verified) ? undefined : refusal
  }

  async #userRefusal(upload: Upload, want: NewTransfer): Promise<OspError | undefined> {
    if (!this.#bounded) return undefined
    const { storage, onConflict } = this.#options
    const { user, name, size } = want
    const replaced = onConflict === 'replace' ? await storage.files.used(user, name) : 0
    const growth = size - replaced
    let refusal: OspError | undefined
    for (const fresh of [false, true]) {
      const unfinished = await this.#unfinished(user)
      const count = await this.#counted(user, fresh)
      const others = this.#held(user, upload) + this.#resting(upload, unfinished)
      // What takes no more room than before is always let in, and so is what only has to be put in its place.
      const verified = unfinished.some((record) => record.name === name && record.verified)
      if (growth <= 0 || verified || count.bytes + others + growth <= this.#options.limits.userBytes) {
        upload.growth = growth
        return undefined
      }
      refusal = this.#refusal(count.bytes, others, growth)
    }
    return refusal
  }

  /**
   * Nothing if what an admitted upload writes has its room, as far as is known; otherwise rejects with OspError
   * `quota-exceeded` or `disk-full` if it has none: files have come beside the server.
   */
  recheck(upload: Upload, bytes: number): Promise<void> | undefined {
    const count = this.#bounded && upload.growth > 0 ? this.#counts.get(upload.user) : undefined
    const isOver = count && this.#isOver(upload.user, count)
    return isOver ? this.#recheck(upload, bytes) : this.#disk.take(bytes)
  }

  /** An admitted upload was stored; its instance is freed by now, or in the same step. */
  stored({ user, growth }: Upload): void {
    const count = this.#counts.get(user)
    if (count) count.bytes += growth
    const counting = this.#counting.get(user)
    // It may have been counted or not; where it was, the count is too high for a while.
    if (counting) counting.bytes += Math.max(0, growth)
  }

  /** Something else has changed what a user has stored. */
  forget(user: string): void {
    this.#counts.delete(user)
  }

  async #recheck(upload: Upload, bytes: number): Promise<void> {
    const { user, growth } = upload
    const count = await this.#counted(user, true)
    if (this.#isOver(user, count)) throw this.#refusal(count.bytes, this.#held(user, upload), growth)
    await this.#disk.take(bytes)
  }

  #isOver(user: string, { bytes }: Count): boolean {
    return bytes + this.#held(user) > this.#options.limits.userBytes
  }

  /** What the uploads that instances receive will add, but for one. */
  #held(user: string, but?: Upload): number {
    let bytes = 0
    for (const upload of this.#uploads.receiving()) {
      if (upload.user === user && upload !== but) bytes += Math.max(0, upload.growth)
    }
    return bytes
  }

  /** What lies there of unfinished uploads that no instance receives, but for one. */
  #resting(but: Upload, unfinished: readonly Unfinished[]): number {
    const received = new Set([but.name])
    for (const { user, name } of this.#uploads.receiving()) if (user === but.user) received.add(name)
    return unfinished.reduce((sum, { name, bytes }) => sum + (received.has(name) ? 0 : bytes), 0)
  }

  async #unfinished(user: string): Promise<readonly Unfinished[]> {
    const all: Unfinished[] = []
    for await (const { name, checkpoints, verified } of this.#options.storage.transfers.records(user)) {
      all.push({ name, bytes: checkpoints.at(-1)?.offset ?? 0, verified: verified !== undefined })
    }
    return all
  }

  async #counted(user: string, fresh: boolean): Promise<Count> {
    const known = this.#counts.get(user)
    if (known && !fresh && known.atMs + countMs > this.#options.platform.clock.now()) return known
    const counting = this.#counting.get(user) ?? { bytes: 0, done: this.#count(user) }
    this.#counting.set(user, counting)
    return counting.done
  }

  async #count(user: string): Promise<Count> {
    const { storage, platform } = this.#options
    try {
      const bytes = await storage.files.used(user)
      const count = { bytes: bytes + (this.#counting.get(user)?.bytes ?? 0), atMs: platform.clock.now() }
      this.#counts.delete(user)
      this.#counts.set(user, count)
      const [oldest] = this.#counts.keys()
      if (this.#counts.size > fixed.rememberedUsers && oldest !== undefined) this.#counts.delete(oldest)
      return count
    } finally {
      this.#counting.delete(user)
    }
  }

  #refusal(stored: number, others: number, growth: number): OspError {
    const { userBytes } = this.#options.limits
    return new OspError(
      'quota-exceeded',
      `your quota on this server is ${sizeText(userBytes)}: ${sizeText(stored)} are stored and ${sizeText(others)} ` +
        `belong to other unfinished uploads, so that ${sizeText(growth)} more do not fit; ` +
        'cancel unfinished uploads, or have files removed',
    )
  }
}

interface Unfinished {
  readonly name: string
  /** Those that are durable. */
  readonly bytes: number
  readonly verified: boolean
}
