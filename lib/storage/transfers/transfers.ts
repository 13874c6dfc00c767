import { OspError } from '../../errors.ts'
import { checkStoredName, checkUserName } from '../../names.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { SessionLink } from '../../ports/links.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type {
  Announcement,
  Checkpoint,
  Claim,
  Claimed,
  ClaimOptions,
  NewTransfer,
  Owner,
  StoredFile,
  TransferRecord,
  TransferStore,
  UnfinishedTotals,
  VersionedFile,
} from '../../ports/storage.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import { isSameMetadata } from '../../runtime/metadata.ts'
import { ConflictMutex, KeyedMutex } from '../../runtime/mutex.ts'
import { type FileKey, type FileRecord, type FileRecords, MemoryFileRecords } from '../catalogue/fileRecords.ts'
import {
  checkNamesComplete,
  checkNotSuperseded,
  checkNotVerified,
  checkUploadCount,
  conflictingName,
  continuedBy,
  isResultOf,
  nameConflict,
  overlaps,
  sameUpload,
  storeAsOf,
  supersededBy,
  uploadOf,
} from './claimRules.ts'
import { type RecordStore, recordKey } from './recordStore.ts'
import { type CompletionMarker, fileRecordOf, type Subject } from './rows.ts'
import type { StoredNames } from './storedNames.ts'

/** The transfer store over any journal and any store of published files. */
export class Transfers implements TransferStore {
  readonly #records: RecordStore
  readonly #names: StoredNames
  readonly #wallTime: () => number
  readonly #files: FileRecords
  /** The move of completion markers to the records of files that is in progress. */
  #retiring: Promise<void> | undefined
  /** Serializes claims of conflicting names, so that the later claim finds the record of the earlier. */
  readonly #claims = new ConflictMutex()
  /** Serializes the operations that read and change a record or a completion marker, for each upload. */
  readonly #changes = new KeyedMutex()

  /** `files` keeps what completion markers say about stored files, after the markers are dropped. */
  constructor(
    records: RecordStore,
    names: StoredNames,
    wallTime: () => number,
    files: FileRecords = new MemoryFileRecords(),
  ) {
    this.#records = records
    this.#names = names
    this.#wallTime = wallTime
    this.#files = files
  }

  claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed> {
    const { user, name } = want
    const collides = (other: string) => this.#names.foldsCase || overlaps(name, other) || overlaps(other, name)
    const claim = () => this.#claim(want, owner, options)
    return this.#change(want, () => this.#claims.run(user, name, collides, claim))
  }

  async checkpoint(claim: Claim, checkpoints: readonly Checkpoint[], at: number): Promise<void> {
    // Copies the bytes, since they may be part of a larger buffer.
    const own = checkpoints.map(({ offset, digest }) => ({ offset, digest: Uint8Array.from(digest) }))
    await this.#rewrite(claim, (record) => ({ ...record, checkpoints: own, updatedAt: at }))
  }

  async verified(claim: Claim, file: StoredFile): Promise<void> {
    const { modifiedAt } = this.#record(claim)
    await this.#checkReported([claim])
    await this.#names.setModifiedAt?.(claim.user, claim.name, modifiedAt)
    const verifiedStamp = await this.#names.partialVersion?.(claim.user, claim.name)
    await this.#rewrite(claim, ({ verifiedStamp: _, ...record }) => ({
      ...record,
      verified: file,
      ...(verifiedStamp !== undefined && { verifiedStamp }),
    }))
  }

  complete(claim: Claim, keepNoteMs: number): Promise<string | undefined> {
    return this.#change(claim, async () => {
      const version = await this.#records.guard(claim, async () => {
        const { verified: file, modifiedAt, metadata } = this.#record(claim)
        if (!file) throw new OspError('internal', `the upload ${claim.name} of ${claim.user} is not verified`)
        // A file that was removed meanwhile leaves a marker that matches no file: the server must still report it.
        const stamp = (await this.#names.version(file.user, file.storedName)) ?? ''
        const marker = {
          file,
          modifiedAt,
          until: this.#wallTime() + keepNoteMs,
          stamp,
          reported: false,
          ...(metadata && { metadata }),
        }
        await this.#complete([marker])
        return versionedFile(marker).version
      })
      await this.#records.drop(claim.user, claim.name)
      return version
    })
  }

  published(files: readonly Subject[]): Promise<void> {
    return this.#changeAll(files, async () => {
      const { log } = this.#records
      for (const { user, name } of files) {
        const { announced, ...marker } = log.marker(user, name) ?? {}
        if (announced) await log.rewrite(marker as CompletionMarker)
      }
    })
  }

  reported(files: readonly Subject[]): Promise<void> {
    return this.#changeAll(files, () => this.#records.log.report(files))
  }

  async announce(file: Announcement, keepNoteMs: number): Promise<void> {
    const [error] = await this.announceAll([file], keepNoteMs)
    if (error) throw error
  }

  announceAll(files: readonly Announcement[], keepNoteMs: number): Promise<readonly (Error | undefined)[]> {
    const subjects = files.map(({ file }) => file)
    return this.#changeAll(subjects, async () => {
      const { log } = this.#records
      const now = this.#wallTime()
      const { foldsCase } = this.#names
      const errors = subjects.map(({ user, name }) => {
        const conflict = log.hasRecords(user) ? conflictingName(log.names(user), name, foldsCase) : undefined
        return conflict === undefined ? undefined : nameConflict(name, conflict)
      })
      const allowed = files.filter((_, at) => !errors[at])
      const unfinished = allowed.flatMap(({ file: { user, name } }) => log.record(user, name) ?? [])
      await this.#checkReported(
        allowed.map(({ file: { user, name }, version }) => ({ user, name, version })),
        unfinished.filter(({ verified }) => verified),
      )
      const markers: CompletionMarker[] = []
      const replaced: StoredFile[] = []
      for (const announced of allowed) {
        const { file } = announced
        const { user, name } = file
        if (this.#records.isClaimed(user, name)) await this.#records.drop(user, name)
        if (log.record(user, name)) replaced.push(file)
        markers.push(announcedMarker(announced, now + keepNoteMs))
      }
      if (markers.length > 0) await this.#complete(markers)
      for (const { user, name } of replaced) await this.#names.dropPartial(user, name)
      return errors
    })
  }

  async unreported(): Promise<readonly VersionedFile[]> {
    const { log } = this.#records
    const files: VersionedFile[] = []
    for (const marker of log.unreported()) {
      const { file } = marker
      if (await this.#wasPublished(marker)) {
        await this.#flushName(marker)
        files.push(versionedFile(marker))
      } else await this.#change(file, () => this.#records.log.forget(file.user, file.name))
    }
    return files
  }

  isReported({ user, name }: Subject): boolean {
    return this.#records.log.marker(user, name)?.reported ?? true
  }

  remove(user: string, name: string, _by?: SessionLink, token?: number): Promise<boolean> {
    return this.#change({ user, name }, async () => {
      if (token !== undefined && this.#records.log.record(user, name)?.token !== token) return false
      return this.#drop(user, name)
    })
  }

  expire(user: string, name: string, before: number): Promise<TransferRecord | undefined> {
    return this.#change({ user, name }, async () => {
      const record = this.#records.log.record(user, name)
      if (!record || record.verified || record.updatedAt >= before) return undefined
      await this.#drop(user, name)
      return record
    })
  }

  forget(want: NewTransfer, digest: string): Promise<void> {
    const { user, name } = want
    const stored = { user, name: storeAsOf(want) }
    return this.#changeAll([want, stored], async () => {
      const { log } = this.#records
      const marker = log.marker(user, name)
      // A marker that has moved could reappear after a restart.
      const removes = !marker || isResultOf({ ...marker.file, modifiedAt: marker.modifiedAt }, want, digest)
      if (removes) await this.#checkReported([want])
      const version = await this.#names.version(user, stored.name)
      const [known] = version === undefined ? [] : await this.describe([{ ...stored, version }])
      // Without the time, it matches no upload.
      if (known && isResultOf(known, want, digest)) await this.#files.put([{ ...known, modifiedAt: undefined }])
      if (removes) await log.forget(user, name)
      await this.#files.prune([{ ...stored, version }])
    })
  }

  completed(want: NewTransfer, digest?: string): Promise<StoredFile | undefined> {
    return this.#change(want, async () => {
      const file = await this.#completed(want)
      if (!file || digest === undefined) return file
      if (file.digest !== digest) return undefined
      if (want.metadata) await this.#takeMetadata(file, want.modifiedAt, want.metadata)
      return file
    })
  }

  /** Returns the records of these versions of stored files, if there are any. */
  async describe(keys: readonly FileKey[]): Promise<readonly (FileRecord | undefined)[]> {
    const marked = keys.map((key) => this.#marked(key))
    const missing = keys.filter((_, at) => !marked[at])
    if (missing.length === 0) return marked
    const found = new Map((await this.#files.get(missing)).map((record, at) => [missing[at], record]))
    return keys.map((key, at) => marked[at] ?? found.get(key))
  }

  /** Throws EarlierFiles if a verified upload that is not complete may have stored its file under one of these names. */
  checkComplete(user: string, names: readonly string[]): void {
    checkNamesComplete(this.#records.log.records(user), names)
  }

  /** Resolves when no completion marker is being moved to the records of files. */
  async idle(): Promise<void> {
    await this.#retiring
  }

  isUnknown(user: string, name: string): boolean {
    const { log } = this.#records
    return !log.has(user, name) && !this.#changes.isBusy(recordKey(user, name))
  }

  async *records(user?: string): AsyncIterable<TransferRecord> {
    yield* this.#records.log.records(user === undefined ? user : checkUserName(user))
  }

  async record(user: string, name: string): Promise<TransferRecord | undefined> {
    return this.#records.log.record(user, name)
  }

  async unfinished(user: string, except?: readonly string[]): Promise<UnfinishedTotals> {
    return this.#records.log.totals(user, except)
  }

  async damages(): Promise<readonly Damage[]> {
    return [...this.#records.damages, ...this.#records.log.damages()]
  }

  /** Returns what the completion marker of a stored file says, if it was uploaded under this name. */
  #marked({ user, name, version }: FileKey): FileRecord | undefined {
    const marker = this.#records.log.marker(user, name)
    return marker?.stamp === version && marker.file.storedName === name ? fileRecordOf(marker) : undefined
  }

  /** Adds completion markers. Moves older ones to the records of files. */
  async #complete(markers: readonly CompletionMarker[]): Promise<void> {
    if (this.#records.log.isCrowded) await this.#retire()
    const records = await this.#recordsBefore(markers)
    if (records.length > 0) await this.#files.put(records)
    await this.#records.log.complete(markers)
    // If this fails, a later call tries again.
    if (this.#records.log.isSurplusDue(this.#wallTime())) this.#retire().catch(() => {})
  }

  /**
   * Returns the records that must be written before these markers: of a file that is still stored and whose marker, with metadata,
   * they replace, and of a file that is stored under another name than that of its upload.
   */
  async #recordsBefore(markers: readonly CompletionMarker[]): Promise<readonly FileRecord[]> {
    const records: FileRecord[] = []
    for (const marker of markers) {
      const { user, name, storedName } = marker.file
      if (storedName !== name) records.push(fileRecordOf(marker))
      const former = this.#records.log.marker(user, name)
      if (former?.metadata && (await this.#isStored(former))) records.push(fileRecordOf(former))
    }
    return records
  }

  /** Moves the markers that are too old or too many to the records of files. */
  #retire(): Promise<void> {
    this.#retiring ??= this.#moveSurplus().finally(() => {
      this.#retiring = undefined
    })
    return this.#retiring
  }

  async #moveSurplus(): Promise<void> {
    const { log } = this.#records
    for (;;) {
      const markers = log.surplus(this.#wallTime())
      if (markers.length === 0) return
      const stored: CompletionMarker[] = []
      for (const marker of markers) if (await this.#isStored(marker)) stored.push(marker)
      if (stored.length > 0) await this.#files.put(stored.map(fileRecordOf))
      const replacing = stored.filter(mayReplace).map(fileRecordOf)
      if (replacing.length > 0) await this.#files.prune(replacing)
      log.drop(markers)
    }
  }

  /** Resolves with whether the stored file is that of the marker, by its version. */
  async #isStored({ file: { user, storedName }, stamp }: CompletionMarker): Promise<boolean> {
    return (await this.#names.version(user, storedName)) === stamp
  }

  /** Implements `TransferStore.claim`, in its order. */
  async #claim(want: NewTransfer, owner: Owner, options: ClaimOptions): Promise<Claimed> {
    const user = checkUserName(want.user)
    const name = checkStoredName(want.name)
    const former = this.#records.log.record(user, name)
    const same = sameUpload(former, want) ? former : undefined
    checkNotSuperseded(former, want, owner.session, options.fresh)
    checkNotVerified(former, want, options.fresh)
    const completed = options.fresh || !same ? await this.#completed(want) : undefined
    if (completed) {
      if (await this.#drop(user, name)) await this.#names.dropPartial(user, name)
      return { completed }
    }
    await this.#checkName(want, !same && options.onConflict === 'reject')
    if (!former) checkUploadCount(user, this.#records.log.totals(user).uploads, this.#records.log.count)
    const continued = continuedBy(want, options, same)
    const base = continued ?? (await this.#newRecord(want, options.fresh || former !== undefined))
    const superseded = supersededBy(owner, former, options.takeOver)
    const token = this.#records.nextToken
    const record: TransferRecord = { ...base, owner, superseded, token, updatedAt: options.at }
    // Before the record, so that no write of the older claim can end after this one is granted.
    await this.#records.raise(user, name, token)
    await this.#records.log.put(record)
    // After the record, so that a crash between leaves bytes without a checkpoint, never the reverse.
    if (!continued && record.checkpoints.length === 0) await this.#names.dropPartial(user, name)
    return { claim: { user, name, token }, record }
  }

  /**
   * Throws EarlierFiles if these names have markers of published files that were not reported, except for these versions, or if there
   * are unfinished uploads.
   */
  async #checkReported(
    subjects: readonly (Subject & { readonly version?: string })[],
    unfinished: readonly TransferRecord[] = [],
  ): Promise<void> {
    const own: VersionedFile[] = []
    for (const { user, name, version } of subjects) {
      const marker = this.#records.log.marker(user, name)
      if (marker && !marker.reported && marker.stamp !== version && (await this.#wasPublished(marker)))
        own.push(versionedFile(marker))
    }
    if (own.length + unfinished.length > 0) throw new EarlierFiles({ own, unfinished })
  }

  /** Resolves with whether the file of a marker was published, even if it may not be stored any more. */
  async #wasPublished(marker: CompletionMarker): Promise<boolean> {
    return !marker.announced || (await this.#isStored(marker)) || this.#names.isIntact(marker.file)
  }

  /** Throws an OspError if the name cannot be claimed. `isNew` means that no file may be stored under the name of the new file. */
  async #checkName(want: NewTransfer, isNew: boolean): Promise<void> {
    const { user, name } = want
    const storeAs = storeAsOf(want)
    if (isNew && (await this.#names.stored(user, storeAs))) {
      throw new OspError('file-exists', `${storeAs} is already on the server; send it under another name`)
    }
    const stored = await this.#names.conflict(user, storeAs)
    const conflict = stored ?? conflictingName(this.#records.log.names(user), name, this.#names.foldsCase)
    if (conflict === undefined) return
    throw nameConflict(name, conflict)
  }

  /** Returns a record of the upload, which continues a partial file without a record unless `isEmpty`. */
  async #newRecord(want: NewTransfer, isEmpty: boolean) {
    const upload = uploadOf(want)
    const offset = isEmpty ? 0 : await this.#names.partialBytes(upload)
    return { ...upload, checkpoints: offset > 0 ? [{ offset, digest: new Uint8Array() }] : [] }
  }

  /** Resolves with the marker of the same upload, if there is one and the stored file has not changed since. */
  async #completed(want: NewTransfer): Promise<StoredFile | undefined> {
    return (await this.#completedRecently(want)) ?? (await this.#completedLongAgo(want))
  }

  /** Resolves with the file of the same upload if it has a record and is stored under its name. */
  async #completedLongAgo(want: NewTransfer): Promise<StoredFile | undefined> {
    const { user, name } = want
    const storedName = storeAsOf(want)
    const version = await this.#names.version(user, storedName)
    if (version === undefined) return undefined
    const [record] = await this.#files.get([{ user, name: storedName, version }])
    if (!record || !sameUpload(record, want)) return undefined
    const { size, algorithm, digest } = record
    return { user, name, storedName, replaced: false, size, algorithm, digest }
  }

  /** Gives a stored file the metadata of an upload. */
  async #takeMetadata(file: StoredFile, modifiedAt: number, metadata: Metadata): Promise<void> {
    const { user, name, storedName } = file
    const stamp = await this.#names.version(user, storedName)
    if (stamp === undefined) return
    const [known] = await this.describe([{ user, name: storedName, version: stamp }])
    if (known && isSameMetadata(metadata, known.metadata)) return
    const { log } = this.#records
    const former = log.marker(user, name)
    const isOfFile = former?.file.storedName === storedName && former.stamp === stamp
    // This writes a marker, because the former marker may reappear after a restart.
    const marker = isOfFile ? former : { file, modifiedAt, until: this.#wallTime(), stamp, reported: true }
    if (storedName !== name) await this.#files.put([fileRecordOf({ ...marker, metadata })])
    await log.rewrite({ ...marker, metadata })
  }

  async #completedRecently(want: NewTransfer): Promise<StoredFile | undefined> {
    const { log } = this.#records
    const marker = log.marker(want.user, want.name)
    if (!marker) return undefined
    const { file, stamp, modifiedAt } = marker
    if (!sameUpload({ ...file, modifiedAt }, want)) return undefined
    const present = await this.#names.version(file.user, file.storedName)
    if (present === undefined) return undefined
    // Copying or a file system can change the times, so the content is compared, once.
    if (present !== stamp && !(await this.#names.isIntact(file))) return undefined
    if (present !== stamp) {
      // A renamed file with the same content keeps its metadata.
      const [known] = await this.#files.get([{ user: file.user, name: file.storedName, version: present }])
      await log.rewrite({ ...marker, stamp: present, ...(known && { metadata: known.metadata }) })
    }
    await this.#flushName(marker)
    return file
  }

  /** Makes the name of a stored file durable if its publication may have been interrupted before that. */
  async #flushName({ announced, file }: CompletionMarker): Promise<void> {
    if (announced) await this.#names.flushName?.(file.user, file.storedName)
  }

  async #drop(user: string, name: string): Promise<boolean> {
    await this.#records.drop(user, name)
    const isThere = this.#records.log.record(user, name) !== undefined
    if (isThere) await this.#records.log.remove(user, name)
    return isThere
  }

  #rewrite(claim: Claim, next: (record: TransferRecord) => TransferRecord): Promise<void> {
    return this.#change(claim, () => this.#records.guard(claim, () => this.#records.log.put(next(this.#record(claim)))))
  }

  #record({ user, name }: Claim): TransferRecord {
    const record = this.#records.log.record(user, name)
    if (!record) throw new OspError('internal', `the record of the upload ${name} of ${user} is missing`)
    return record
  }

  #change<T>(subject: Subject, work: () => Promise<T>): Promise<T> {
    return this.#changeAll([subject], work)
  }

  #changeAll<T>(subjects: readonly Subject[], work: () => Promise<T>): Promise<T> {
    const keys = subjects.map(({ user, name }) => recordKey(user, name))
    return this.#changes.runAll(keys, async () => {
      this.#records.checkOpen()
      return work()
    })
  }
}

/**
 * Returns whether the name of a stored file may have records of other versions. After another program has removed a file, a new
 * name can have one too; the sweep of the catalogue removes it.
 */
const mayReplace = ({ file: { name, storedName, replaced } }: CompletionMarker) => replaced || storedName !== name

function announcedMarker(
  { file, version: stamp, modifiedAt, metadata }: Announcement,
  until: number,
): CompletionMarker {
  return { file, modifiedAt, until, stamp, reported: false, announced: true, ...(metadata && { metadata }) }
}

/** A file that was removed before its marker was written has no version. */
const versionedFile = ({ file, stamp }: CompletionMarker): VersionedFile => ({
  ...file,
  ...(stamp && { version: stamp }),
})
