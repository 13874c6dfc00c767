import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { partCount } from '../../names.ts'
import type {
  ClaimReservation,
  NewTransfer,
  OtherUploads,
  QuotaPart,
  QuotaRoom,
  Storage,
  UnfinishedTotals,
  Usage,
} from '../../ports/storage.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import type { ServerContext } from '../app.ts'
import { type DiskSpace, sizeText } from './diskSpace.ts'
import type { ReservationHolder, ServerUpload } from './serverUpload.ts'
import { durableOf, recordOf } from './unfinishedUploads.ts'
import type { UploadTable } from './uploadTable.ts'

/** The largest part of the time that counting the files of one user may take. */
const countShare = 1 / 50

/** The last count of a user's files. */
interface Count {
  readonly atMs: number
  /** When the files may be counted again. */
  readonly againAtMs: number
  /** Whether uploads are limited by it. Without a quota of bytes, they do not wait for the first count. */
  readonly isKnown: boolean
  /** Whether the running uploads no longer fit, because other programs have added files. */
  isExceeded: boolean
  /** In a storage of several servers, the counted files. */
  readonly shared: SharedCount | undefined
  /** Set while the files are counted for the first time. */
  readonly first?: Promise<unknown>
}

/** The files of a user that one of several servers has counted. */
interface SharedCount {
  readonly usage: Usage
  /** What published files had added to the quota before the count. What they have added since may be missing from it. */
  readonly addedBefore: QuotaPart
}

/** The published files of a user. */
interface Stored extends QuotaPart {
  /** Their totals at the last count. */
  readonly usage: Usage
}

const nothing: QuotaPart = { growth: 0, entries: 0 }

/**
 * Limits the size of a file, the disk space, and the quota of a user. The quota covers published files, uploads with a
 * reservation, which count with their full size, and other unfinished uploads, which count with their durable bytes. Each file
 * and folder adds `entryBytes`.
 *
 * The storage keeps running totals, so that a request takes the same time however much a user has stored. It counts the files
 * again from time to time, since other programs can add and remove files: before a refusal or after an admission, if the last
 * count is old enough.
 *
 * If several servers share the storage, the running totals of one server do not contain the files of the others. Instead, the
 * storage adds up what published files add to the quota. A server adds what they have added since its last count to the result of
 * that count. The sum is never too small, and too large until the next count if files were removed or replaced by smaller ones.
 */
export class Quota {
  readonly #context: ServerContext
  readonly #uploads: UploadTable
  readonly #disk: DiskSpace
  /** Whether there is a quota of bytes. */
  readonly #hasQuota: boolean
  /** By user, the oldest count first. */
  readonly #counts = new BoundedMap<string, Count>(fixed.rememberedUsers)
  /** Admits the uploads of a user one after another, so that each admission includes the earlier ones. */
  readonly #admissions = new KeyedMutex()

  constructor(context: ServerContext, uploads: UploadTable, disk: DiskSpace) {
    this.#context = context
    this.#uploads = uploads
    this.#disk = disk
    this.#hasQuota = context.limits.userBytes < Number.MAX_SAFE_INTEGER
  }

  /** Throws OspError `too-large` for a file larger than `fileBytes`. */
  checkSize({ size }: NewTransfer): void {
    const { fileBytes } = this.#context.limits
    if (size <= fileBytes) return
    const text = sizeText(size) === sizeText(fileBytes) ? (bytes: number) => `${bytes} bytes` : sizeText
    const has = size > fixed.mostFileBytes ? `more than ${fixed.mostFileBytes} bytes` : text(size)
    const advice = fileBytes < fixed.mostFileBytes ? ', or ask for a higher limit' : ''
    throw new OspError(
      'too-large',
      `the file has ${has}, and this server accepts files of at most ${text(fileBytes)}: send it in smaller parts${advice}`,
    )
  }

  /**
   * Reserves quota and disk space for an upload. Rejects with `quota-exceeded`, `disk-full` or `too-large`. Resolves with the
   * reservation, which a storage of several servers compares with those at other servers.
   */
  async admit(upload: ReservationHolder, want: NewTransfer): Promise<ClaimReservation> {
    await this.#admitUpload(upload, want)
    const { user } = upload
    const { growth, entries } = upload.reserved ?? nothing
    return { growth, entries, check: (others) => this.#checkOthers(user, { growth, entries }, others) }
  }

  /** Returns the space that is left for files of a user, for a storage of several servers. */
  roomOf(user: string): QuotaRoom | undefined {
    const count = this.#counts.get(user)
    if (!count?.shared) return undefined
    const { usage, addedBefore } = count.shared
    const { userBytes, userFiles, entryBytes } = this.#context.limits
    return {
      growth: this.#hasQuota ? userBytes - this.#charge(usage) + addedBefore.growth : Number.MAX_SAFE_INTEGER,
      entries: userFiles - usage.files - usage.folders + addedBefore.entries,
      entryBytes,
      refusal: () => new OspError('quota-exceeded', roomText),
    }
  }

  async #admitUpload(upload: ReservationHolder, want: NewTransfer): Promise<void> {
    const { storage } = this.#context
    const refusal = refusalOf(await this.#admit(upload, [want], false))
    // If the file is already stored, the client has not received the reply and repeats the upload.
    if (!refusal || (await storage.transfers.completed(want))) return
    const record = await recordOf(storage, want.user, want.name)
    if (!record?.verified) throw refusal
    // A verified upload is only published.
    upload.reserve(await this.#addsOf(want))
  }

  /**
   * Reserves quota and disk space for files of one user that have arrived, each in one request. Resolves with what each of them adds
   * to the quota, or with the error if they do not fit.
   */
  admitSmall(holder: ReservationHolder, wants: readonly NewTransfer[]): Promise<OspError | readonly QuotaPart[]> {
    return this.#admit(holder, wants, true)
  }

  /** Reserves the folders that a new name of a stored file can add. Rejects with `quota-exceeded`. */
  async admitRename(holder: ReservationHolder, name: string, newName: string): Promise<void> {
    const folders = foldersOf(newName).filter((folder) => !name.startsWith(`${folder}/`)).length
    if (folders === 0) return
    const adds = this.#adds(0, folders)
    const { user } = holder
    await this.#countFirst(user)
    let refusal = await this.#tryReserve(holder, [], adds)
    if (refusal && this.#isDue(user)) {
      await this.#recount(user)
      refusal = await this.#tryReserve(holder, [], adds)
    }
    if (refusal) throw refusal
  }

  async #admit(
    holder: ReservationHolder,
    wants: readonly NewTransfer[],
    isSmall: boolean,
  ): Promise<OspError | readonly QuotaPart[]> {
    const running = () => this.#uploads.reservationHolders()
    const admitted = await this.#admitToQuota(holder, wants)
    if (admitted instanceof OspError) return admitted
    return (await this.#disk.admit(holder, wants, isSmall, running)) ?? admitted
  }

  /**
   * Checks the next bytes of an admitted upload, since other programs may have added files. Returns `undefined` if they fit as
   * far as known. Otherwise measures again, and rejects with OspError `quota-exceeded` or `disk-full` if they do not fit.
   */
  recheck(upload: ServerUpload, bytes: number): Promise<void> | undefined {
    const growth = upload.reserved?.growth ?? 0
    return growth > 0 && this.#counts.get(upload.user)?.isExceeded
      ? this.#recheck(upload, bytes, growth)
      : this.#disk.take(bytes)
  }

  /** Resolves with what each file adds, or with the error if the files do not fit the quota of their user. */
  async #admitToQuota(
    holder: ReservationHolder,
    wants: readonly NewTransfer[],
  ): Promise<OspError | readonly QuotaPart[]> {
    const { user } = holder
    const names = wants.map(({ name }) => name)
    const isKnown = await this.#countFirst(user)
    // Far from all limits, which is usual without a quota, a rough estimate avoids looking for replaced files.
    const rough = wants.map((want) => this.#adds(want.size, partsOf(want)))
    if (!isKnown || (!this.#hasQuota && !(await this.#tryReserve(holder, names, sum(rough))))) {
      holder.reserve(sum(rough))
      return rough
    }
    const adds = await Promise.all(wants.map((want) => this.#addsOf(want)))
    const refusal = await this.#tryReserve(holder, names, sum(adds))
    if (!this.#isDue(user)) return refusal ?? adds
    const recount = this.#recount(user)
    if (refusal) return recount.then(async () => (await this.#tryReserve(holder, names, sum(adds))) ?? adds)
    // A fault of the storage is reported to the next upload that does not fit.
    recount.catch(() => {})
    return adds
  }

  /**
   * Rejects with `file-busy` if a file adds more than it did before its name was claimed or announced: another server has changed
   * the file that it replaces. Returns `undefined` if no other server uses the storage.
   */
  checkAdds(want: NewTransfer, { growth, entries }: QuotaPart): Promise<undefined> | undefined {
    const most = this.#adds(want.size, partsOf(want))
    if (!this.#context.storage.transfers.abandoned || (growth >= most.growth && entries >= most.entries))
      return undefined
    return this.#addsOf(want).then((adds) => {
      if (adds.growth > growth || adds.entries > entries) throw new OspError('file-busy')
      return undefined
    })
  }

  /** Resolves with what an upload adds to the quota. It adds its folders, unless it replaces a file. */
  async #addsOf(want: NewTransfer): Promise<QuotaPart> {
    const { user, size, storeAs = want.name } = want
    const { storage, onConflict } = this.#context
    if (onConflict !== 'replace') return this.#adds(size, partsOf(want))
    const replaced = await storage.files.used(user, storeAs)
    const replaces = replaced > 0 || (await storage.files.stored(user, storeAs))
    return this.#adds(size - replaced, replaces ? 0 : partsOf(want))
  }

  /** A file that replaces a larger one adds nothing: the freed space is available only after the next count. */
  #adds(bytes: number, entries: number): QuotaPart {
    return { growth: Math.max(0, bytes + entries * this.#context.limits.entryBytes), entries }
  }

  /** Reserves space for files. Resolves with the error if they do not fit. */
  #tryReserve(holder: ReservationHolder, names: readonly string[], adds: QuotaPart): Promise<OspError | undefined> {
    const { storage, limits } = this.#context
    const { user } = holder
    return this.#admissions.run(user, async () => {
      const before = this.#reserved(user, holder)
      const refusalWith = async (paused: UnfinishedTotals) => {
        const stored = await this.#stored(user, paused.added)
        const after = this.#reserved(user, holder)
        const { announced = nothing } = paused
        // Files that were published meanwhile may be counted twice, but are not missed.
        const others = {
          growth:
            Math.max(before.growth, after.growth) +
            announced.growth +
            paused.bytes +
            paused.uploads * limits.entryBytes,
          entries: Math.max(before.entries, after.entries) + announced.entries + paused.uploads,
        }
        return this.#refusal(user, stored, others, adds)
      }
      // Uploads with a reservation are counted twice at first, which saves reading their records.
      const refusal =
        (await refusalWith(await unfinishedOf(storage, user))) && (await refusalWith(await this.#paused(user, names)))
      if (!refusal) holder.reserve(adds)
      return refusal
    })
  }

  /** Returns the error for files that do not fit in addition to the published files and the other uploads of a user. */
  #refusal(user: string, stored: Stored, others: QuotaPart, { growth, entries }: QuotaPart): OspError | undefined {
    const { userBytes, userFiles } = this.#context.limits
    // An upload that adds no bytes is always admitted.
    if (this.#hasQuota && growth > 0 && stored.growth + others.growth + growth > userBytes)
      return this.#noBytes(user, stored, others.growth, growth)
    if (entries > 0 && stored.entries + others.entries + entries > userFiles)
      return this.#noEntries(user, stored, others.entries, entries)
    return undefined
  }

  /** Rejects if an upload does not fit beside the other ones of its user at all servers. */
  async #checkOthers(user: string, adds: QuotaPart, others: OtherUploads): Promise<void> {
    this.#uploads.bounds.checkUser(user, others.held)
    // Without a quota of bytes, uploads do not wait for the first count.
    if (!this.#counts.get(user)?.shared) return
    const free = others.uploads - others.held
    const { reserved, announced } = others
    const growth = reserved.growth + announced.growth + others.bytes + free * this.#context.limits.entryBytes
    const entries = reserved.entries + announced.entries + free
    const refusal = this.#refusal(user, await this.#stored(user, others.added), { growth, entries }, adds)
    if (refusal) throw refusal
  }

  /** Resolves with the published files of a user. `added` is what published files have added by now. */
  async #stored(user: string, added: QuotaPart | undefined): Promise<Stored> {
    const shared = added && this.#counts.get(user)?.shared
    const usage = shared ? shared.usage : await usageOf(this.#context.storage, user, false)
    const since = shared ? shared.addedBefore : nothing
    const { growth, entries } = (shared && added) || nothing
    return {
      usage,
      growth: this.#charge(usage) + growth - since.growth,
      entries: usage.files + usage.folders + entries - since.entries,
    }
  }

  async #recheck(upload: ServerUpload, bytes: number, growth: number): Promise<void> {
    const { user } = upload
    if (this.#isDue(user)) await this.#recount(user)
    const stored = await this.#stored(user, undefined)
    if (this.#setExceeded(user, stored.usage))
      throw this.#noBytes(user, stored, this.#reserved(user, upload).growth, growth)
    await this.#disk.take(bytes)
  }

  #setExceeded(user: string, usage: Usage): boolean {
    const isExceeded =
      this.#hasQuota && this.#charge(usage) + this.#reserved(user).growth > this.#context.limits.userBytes
    const count = this.#counts.get(user)
    if (count) count.isExceeded = isExceeded
    return isExceeded
  }

  /** Returns what the uploads of a user that have a reservation will add, except one. */
  #reserved(user: string, except?: ReservationHolder): QuotaPart {
    let [growth, entries] = [0, 0]
    for (const holder of this.#uploads.reservationHolders()) {
      if (holder.user !== user || holder === except || !holder.reserved) continue
      growth += holder.reserved.growth
      entries += holder.reserved.entries
    }
    return { growth, entries }
  }

  /** Resolves with the totals of the user's unfinished uploads that have no reservation, except those of some names. */
  async #paused(user: string, except: readonly string[]): Promise<UnfinishedTotals> {
    const { storage } = this.#context
    const others = this.#uploads.known().filter((upload) => upload.user === user && upload.reserved)
    const names = new Set([...except, ...others.map(({ name }) => name)])
    return unfinishedOf(storage, user, [...names])
  }

  #charge({ bytes, files, folders }: Usage): number {
    return bytes + (files + folders) * this.#context.limits.entryBytes
  }

  /** Counts the files of a user if this was not done before. Resolves with whether uploads are limited by the count. */
  async #countFirst(user: string): Promise<boolean> {
    const known = this.#counts.get(user)
    if (known?.isKnown && known.first) await known.first
    if (known) return known.isKnown
    const counted = this.#counted(user, false)
    const count = this.#counts.get(user)
    if (count) this.#counts.set(user, { ...count, first: counted })
    if (this.#hasQuota) await counted
    else counted.catch(() => {})
    return this.#hasQuota
  }

  async #recount(user: string): Promise<void> {
    this.#setExceeded(user, await this.#counted(user, true))
  }

  #isDue(user: string): boolean {
    const count = this.#counts.get(user)
    return count !== undefined && this.#context.platform.clock.now() >= count.againAtMs
  }

  async #counted(user: string, recount: boolean): Promise<Usage> {
    const { storage, platform } = this.#context
    const atMs = platform.clock.now()
    const isExceeded = this.#counts.get(user)?.isExceeded ?? false
    // Set before the count, so that concurrent refusals start only one.
    const isKnown = recount || this.#hasQuota
    let shared = this.#counts.get(user)?.shared
    this.#counts.set(user, { atMs, againAtMs: Number.POSITIVE_INFINITY, isKnown, isExceeded, shared })
    try {
      const addedBefore = storage.transfers.abandoned && (await unfinishedOf(storage, user)).added
      const usage = await usageOf(storage, user, recount || addedBefore !== undefined)
      shared = addedBefore && { usage, addedBefore }
      return usage
    } finally {
      const tookMs = platform.clock.now() - atMs
      // The totals do not include files that other servers have stored since the last count.
      const recountMs = storage.transfers.abandoned ? fixed.sharedRecountMs : fixed.recountMs
      const againAtMs = atMs + Math.max(recountMs, tookMs / countShare)
      this.#counts.set(user, { atMs, againAtMs, isKnown: true, isExceeded, shared })
    }
  }

  #noBytes(user: string, { usage, growth: stored }: Stored, others: number, growth: number): OspError {
    const { userBytes, entryBytes } = this.#context.limits
    const each =
      entryBytes > 0 ? `, where each file and folder counts ${sizeText(entryBytes)} in addition to its content` : ''
    return new OspError(
      'quota-exceeded',
      `your quota on this server is ${sizeText(userBytes)}${each}: ${sizeText(stored)} are stored ` +
        `(${this.#entriesOf(user, usage)}) and ${sizeText(others)} belong to other unfinished uploads, so that ` +
        `${sizeText(growth)} more do not fit; cancel unfinished uploads, or have files removed`,
    )
  }

  #noEntries(user: string, { usage }: Stored, others: number, entries: number): OspError {
    return new OspError(
      'quota-exceeded',
      `you may keep ${this.#context.limits.userFiles} files and folders on this server: ${this.#entriesOf(user, usage)} are ` +
        `stored and ${others} belong to other unfinished uploads, so that ${entries} more do not fit; cancel ` +
        'unfinished uploads, or have files removed',
    )
  }

  /** Returns the number of files and folders, and how old the count is. */
  #entriesOf(user: string, { files, folders }: Usage): string {
    const now = this.#context.platform.clock.now()
    const minutes = Math.floor((now - (this.#counts.get(user)?.atMs ?? now)) / 60_000)
    const age = minutes > 0 ? `, last counted on the disk ${minutes} min ago` : ''
    return `${count(files, 'file')} and ${count(folders, 'folder')}${age}`
  }
}

/** Returns the number of files and folders that a new file adds, at most. */
const partsOf = ({ name, storeAs = name }: NewTransfer): number => partCount(storeAs)

const sum = (all: readonly QuotaPart[]): QuotaPart => ({
  growth: all.reduce((bytes, { growth }) => bytes + growth, 0),
  entries: all.reduce((many, { entries }) => many + entries, 0),
})

/** Returns the folders above a name, outermost first. */
const foldersOf = (name: string): readonly string[] =>
  name.split('/').flatMap((_, at, parts) => (at > 0 ? parts.slice(0, at).join('/') : []))

const roomText =
  'files that other servers of this service are receiving leave no space for this one in your quota; try again later'

const refusalOf = (admitted: OspError | readonly QuotaPart[]): OspError | undefined =>
  admitted instanceof OspError ? admitted : undefined

const count = (many: number, what: string) => `${many} ${what}${many === 1 ? '' : 's'}`

/** Resolves with the totals of a user's unfinished uploads, except those of these names. */
async function unfinishedOf(
  { transfers }: Storage,
  user: string,
  except: readonly string[] = [],
): Promise<UnfinishedTotals> {
  if (transfers.unfinished) return transfers.unfinished(user, except)
  let [uploads, bytes] = [0, 0]
  for await (const record of transfers.records(user)) {
    if (except.includes(record.name)) continue
    uploads++
    bytes += durableOf(record)
  }
  return { uploads, bytes }
}

/** Resolves with the totals of a user's published files. */
async function usageOf({ files }: Storage, user: string, recount: boolean): Promise<Usage> {
  return files.usage ? files.usage(user, recount) : { bytes: await files.used(user), files: 0, folders: 0 }
}
