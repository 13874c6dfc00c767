import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { NewTransfer, OnConflict, Storage, TransferRecord, UnfinishedTotals, Usage } from '../../ports/storage.ts'
import { type DiskSpace, sizeText } from './diskSpace.ts'
import { durableOf, recordOf } from './unfinishedUploads.ts'
import type { Reservation, Upload } from './upload.ts'
import type { Uploads } from './uploads.ts'

/** The largest part of the time that counting the files of one user may take. */
const countShare = 1 / 50

export interface QuotaOptions {
  readonly limits: Limits
  readonly platform: Platform
  readonly storage: Storage
  readonly onConflict: OnConflict
  readonly disk: DiskSpace
}

/** The last count of a user's files. */
interface Count {
  readonly atMs: number
  /** When the files may be counted again. */
  readonly againAtMs: number
}

/** What an upload adds to the quota of its user. */
type Adds = Pick<Reservation, 'growth' | 'entries'>

/** What a user has besides one upload. */
interface UserTotals {
  /** Bytes of published files and of other uploads, including `entryBytes` for each entry. */
  readonly stored: number
  readonly others: number
  /** Files and folders that are published, and those of other uploads. */
  readonly storedEntries: number
  readonly otherEntries: number
  readonly usage: Usage
}

/**
 * Limits the size of a file, the disk space, and the quota of a user. The quota contains published files, running uploads with
 * their full size, and other unfinished uploads with their durable bytes. Each file and folder counts `entryBytes` in addition.
 *
 * The storage keeps running totals, so that a request takes the same time however much a user has stored. It counts the files
 * again from time to time, since other programs can add and remove files: before a refusal or after an admission, if the last
 * count is old enough.
 */
export class Quota {
  readonly #options: QuotaOptions
  readonly #uploads: Uploads
  readonly #disk: DiskSpace
  /** There is a quota of bytes. Without it, no upload waits for the first count of its user's files. */
  readonly #hasQuota: boolean
  /** The last count of each user, the oldest first. */
  readonly #counts = new BoundedMap<string, Count>(fixed.rememberedUsers, (user) => {
    this.#counts.delete(user)
    this.#over.delete(user)
  })
  /** Users whose files are being counted for the first time, without an upload that waits. */
  readonly #firstCounts = new Set<string>()
  /** What was published while uploads are being judged, since their totals may be older. */
  readonly #judging = new Set<{ readonly user: string; growth: number; entries: number }>()
  /** Users whose running uploads no longer fit, because other programs have added files. */
  readonly #over = new Set<string>()

  constructor(options: QuotaOptions, uploads: Uploads) {
    this.#options = options
    this.#uploads = uploads
    this.#disk = options.disk
    this.#hasQuota = options.limits.userBytes < Number.MAX_SAFE_INTEGER
  }

  /** Throws OspError `too-large` for a file larger than `fileBytes`. */
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
   * Reserves space in the quota of the user and on the disk for an upload that has got its instance. Rejects with OspError
   * `quota-exceeded`, `disk-full` or `too-large` if it does not fit.
   */
  async admit(upload: Upload, want: NewTransfer): Promise<void> {
    const refusal = (await this.#userRefusal(upload, want)) ?? (await this.#diskRefusal(upload, want))
    // If the file is already stored, the client has not received the answer and repeats the upload.
    if (refusal && !(await this.#options.storage.transfers.completed(want))) throw refusal
  }

  /**
   * Checks the next bytes of an admitted upload, since other programs may have added files. Returns `undefined` if they fit as
   * far as known. Otherwise measures again, and rejects with OspError `quota-exceeded` or `disk-full` if they do not fit.
   */
  recheck(upload: Upload, bytes: number): Promise<void> | undefined {
    return upload.reserved.growth > 0 && this.#over.has(upload.user)
      ? this.#recheck(upload, bytes)
      : this.#disk.take(bytes)
  }

  /** Counts the file of an admitted upload as published, and no longer as reserved. */
  published(upload: Upload): void {
    const { user, reserved } = upload
    for (const judging of this.#judging) {
      if (judging.user !== user) continue
      judging.growth += Math.max(0, reserved.growth)
      judging.entries += reserved.entries
    }
    upload.reserve({ growth: 0, entries: 0 })
  }

  async #diskRefusal(upload: Upload, want: NewTransfer): Promise<OspError | undefined> {
    const refusal = await this.#disk.admit(upload, want, () => this.#uploads.receiving())
    // A verified upload needs no further space.
    return refusal && !(await this.#isVerified(want)) ? refusal : undefined
  }

  async #userRefusal(upload: Upload, want: NewTransfer): Promise<OspError | undefined> {
    const { user, name } = want
    const ready = await this.#ready(user)
    // Far from all limits, which is usual without a quota, a rough estimate avoids looking for a replaced file.
    const rough = this.#adds(want.size, name.split('/').length)
    if (!ready || (!this.#hasQuota && !(await this.#judge(upload, rough)))) {
      upload.reserve(rough)
      return undefined
    }
    const adds = await this.#added(want)
    let refusal = await this.#judge(upload, adds)
    if (this.#isDue(user)) {
      const recount = this.#recount(user)
      // A fault of the storage is reported to the next upload that does not fit.
      if (!refusal) recount.catch(() => {})
      else refusal = await recount.then(() => this.#judge(upload, adds))
    }
    if (refusal && !(await this.#isVerified(want))) return refusal
    upload.reserve(adds)
    return undefined
  }

  /** Resolves with what an upload adds to the quota. It adds its folders, unless it replaces a file. */
  async #added({ user, name, size }: NewTransfer): Promise<Adds> {
    const { storage, onConflict } = this.#options
    const replaced = onConflict === 'replace' ? await storage.files.used(user, name) : 0
    const replaces = replaced > 0 || (onConflict === 'replace' && (await storage.files.stored(user, name)))
    return this.#adds(size - replaced, replaces ? 0 : name.split('/').length)
  }

  #adds(bytes: number, entries: number): Adds {
    return { growth: bytes + entries * this.#options.limits.entryBytes, entries }
  }

  /** Reserves space for an upload, or resolves with its refusal. */
  async #judge(upload: Upload, adds: Adds): Promise<OspError | undefined> {
    const { storage, limits } = this.#options
    const { user } = upload
    const judging = { user, growth: 0, entries: 0 }
    this.#judging.add(judging)
    try {
      const unreceived = await this.#unreceived(upload)
      const usage = await usageOf(storage, user, false)
      const totals = this.#totals(upload, usage, unreceived())
      const { growth, entries } = adds
      const bytes = totals.stored + totals.others + judging.growth + growth
      // An upload that adds no bytes is always admitted.
      if (this.#hasQuota && growth > 0 && bytes > limits.userBytes) return this.#noBytes(user, totals, growth)
      const all = totals.storedEntries + totals.otherEntries + judging.entries + entries
      if (entries > 0 && all > limits.userFiles) return this.#noEntries(user, totals, entries)
      // In the same step as the check, so that the next upload sees it.
      upload.reserve(adds)
      return undefined
    } finally {
      this.#judging.delete(judging)
    }
  }

  async #recheck(upload: Upload, bytes: number): Promise<void> {
    const { user } = upload
    if (this.#isDue(user)) await this.#recount(user)
    const usage = await usageOf(this.#options.storage, user, false)
    if (this.#isOver(user, usage))
      throw this.#noBytes(user, this.#totals(upload, usage, { uploads: 0, bytes: 0 }), upload.reserved.growth)
    this.#over.delete(user)
    await this.#disk.take(bytes)
  }

  #isOver(user: string, usage: Usage): boolean {
    return this.#hasQuota && this.#charge(usage) + this.#received(user).growth > this.#options.limits.userBytes
  }

  /** Returns what a user has besides `upload`. `unreceived`: the unfinished uploads without an instance. */
  #totals(upload: Upload, usage: Usage, unreceived: UnfinishedTotals): UserTotals {
    const { entryBytes } = this.#options.limits
    const received = this.#received(upload.user, upload)
    return {
      stored: this.#charge(usage),
      others: received.growth + unreceived.bytes + unreceived.uploads * entryBytes,
      storedEntries: usage.files + usage.folders,
      otherEntries: received.entries + unreceived.uploads,
      usage,
    }
  }

  /** Returns what the uploads of a user that have an instance will add, except one. */
  #received(user: string, but?: Upload): { growth: number; entries: number } {
    let [growth, entries] = [0, 0]
    for (const upload of this.#uploads.receiving()) {
      if (upload.user !== user || upload === but) continue
      growth += Math.max(0, upload.reserved.growth)
      entries += upload.reserved.entries
    }
    return { growth, entries }
  }

  /**
   * Resolves with a function that returns the totals of the user's other unfinished uploads that have no instance at the time of
   * its call.
   */
  async #unreceived(but: Upload): Promise<() => UnfinishedTotals> {
    const { storage } = this.#options
    const { user } = but
    const names = () => {
      const received = new Set([but.name])
      for (const upload of this.#uploads.receiving()) if (upload.user === user) received.add(upload.name)
      return received
    }
    const records = new Map<string, TransferRecord>()
    for (const name of names()) {
      const record = await recordOf(storage, user, name)
      if (record) records.set(name, record)
    }
    const totals = await unfinishedOf(storage, user)
    return () => {
      let { uploads, bytes } = totals
      for (const name of names()) {
        const record = records.get(name)
        if (!record) continue
        uploads--
        bytes -= durableOf(record)
      }
      return { uploads: Math.max(0, uploads), bytes: Math.max(0, bytes) }
    }
  }

  async #isVerified({ user, name }: NewTransfer): Promise<boolean> {
    const record = await recordOf(this.#options.storage, user, name)
    return record?.verified !== undefined
  }

  #charge({ bytes, files, folders }: Usage): number {
    return bytes + (files + folders) * this.#options.limits.entryBytes
  }

  /**
   * Counts the files of a user if this was not done before. Without a quota, resolves with false and does not wait for the count:
   * the number of files is then limited after the count.
   */
  async #ready(user: string): Promise<boolean> {
    if (this.#firstCounts.has(user)) return false
    if (this.#counts.has(user)) return true
    const counted = this.#counted(user, false)
    if (!this.#hasQuota) {
      this.#firstCounts.add(user)
      const ended = () => this.#firstCounts.delete(user)
      counted.then(ended, ended)
      return false
    }
    await counted
    return true
  }

  /** Counts the files of a user again. */
  async #recount(user: string): Promise<Usage> {
    const usage = await this.#counted(user, true)
    if (this.#isOver(user, usage)) this.#over.add(user)
    else this.#over.delete(user)
    return usage
  }

  #isDue(user: string): boolean {
    const count = this.#counts.get(user)
    return count !== undefined && this.#options.platform.clock.now() >= count.againAtMs
  }

  async #counted(user: string, recount: boolean): Promise<Usage> {
    const { storage, platform } = this.#options
    const atMs = platform.clock.now()
    // Set before the count, so that concurrent refusals start only one.
    this.#counts.set(user, { atMs, againAtMs: Number.POSITIVE_INFINITY })
    try {
      return await usageOf(storage, user, recount)
    } finally {
      const tookMs = platform.clock.now() - atMs
      this.#counts.set(user, { atMs, againAtMs: atMs + Math.max(fixed.recountMs, tookMs / countShare) })
    }
  }

  #noBytes(user: string, { stored, others, usage }: UserTotals, growth: number): OspError {
    const { userBytes, entryBytes } = this.#options.limits
    const each = entryBytes > 0 ? `, where each file and folder counts ${sizeText(entryBytes)} besides its content` : ''
    return new OspError(
      'quota-exceeded',
      `your quota on this server is ${sizeText(userBytes)}${each}: ${sizeText(stored)} are stored ` +
        `(${this.#entriesOf(user, usage)}) and ${sizeText(others)} belong to other unfinished uploads, so that ` +
        `${sizeText(growth)} more do not fit; cancel unfinished uploads, or have files removed`,
    )
  }

  #noEntries(user: string, { otherEntries, usage }: UserTotals, entries: number): OspError {
    return new OspError(
      'quota-exceeded',
      `you may keep ${this.#options.limits.userFiles} files and folders on this server: ${this.#entriesOf(user, usage)} are ` +
        `stored and ${otherEntries} belong to other unfinished uploads, so that ${entries} more do not fit; cancel ` +
        'unfinished uploads, or have files removed',
    )
  }

  /** Returns the number of files and folders, and how old the count is. */
  #entriesOf(user: string, { files, folders }: Usage): string {
    const { atMs } = this.#counts.get(user) ?? {}
    const minutes = atMs === undefined ? 0 : Math.floor((this.#options.platform.clock.now() - atMs) / 60_000)
    const age = minutes > 0 ? `, last counted on the disk ${minutes} min ago` : ''
    return `${count(files, 'file')} and ${count(folders, 'folder')}${age}`
  }
}

const count = (many: number, what: string) => `${many} ${what}${many === 1 ? '' : 's'}`

/** Returns the totals of a user's unfinished uploads. */
async function unfinishedOf({ transfers }: Storage, user: string): Promise<UnfinishedTotals> {
  if (transfers.unfinished) return transfers.unfinished(user)
  let [uploads, bytes] = [0, 0]
  for await (const record of transfers.records(user)) {
    uploads++
    bytes += durableOf(record)
  }
  return { uploads, bytes }
}

/** Returns the totals of a user's published files. */
async function usageOf({ files }: Storage, user: string, recount: boolean): Promise<Usage> {
  if (files.usage) return files.usage(user, recount)
  return { bytes: await files.used(user), files: 0, folders: 0 }
}
