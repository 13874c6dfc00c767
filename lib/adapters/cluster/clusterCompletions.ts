import { OspError } from '../../errors.ts'
import type { Announcement, NewTransfer, StoredFile } from '../../ports/storage.ts'
import { isSameMetadata } from '../../runtime/metadata.ts'
import type { FileRecord } from '../../storage/catalogue/fileRecords.ts'
import { sameUpload, storeAsOf } from '../../storage/transfers/claimRules.ts'
import type { StoredNames } from '../../storage/transfers/storedNames.ts'
import type { ClusterMember } from './clusterMember.ts'
import type { FoundUpload } from './steps.ts'

/**
 * The version of a stored file differs from the one in the completion marker. Only the content of the file, which has not
 * been read yet, shows whether the upload is complete.
 */
export class UnreadContent extends OspError {
  readonly file: StoredFile
  readonly version: string

  constructor(file: StoredFile, version: string) {
    super('internal', `the content of ${file.storedName} of ${file.user} was not read`)
    this.file = file
    this.version = version
  }
}

/** Whether the content of a stored file with this version is that of the completed upload. */
export interface ReadContent {
  readonly version: string
  readonly isIntact: boolean
}

/** Recognizes the uploads that are complete: by their completion markers, and by the records of stored files. */
export class ClusterCompletions {
  readonly #member: ClusterMember
  readonly #names: StoredNames

  constructor(member: ClusterMember, names: StoredNames) {
    this.#member = member
    this.#names = names
  }

  /** As `TransferStore.completed`. */
  async completed(want: NewTransfer, digest: string | undefined): Promise<StoredFile | undefined> {
    const { user, name } = want
    const marker = await this.#member.run(({ transfers }) => transfers.marker(user, name))
    const marked = await this.#marked(marker, want, undefined).catch(async (error) => {
      if (!(error instanceof UnreadContent)) throw error
      return (await this.#names.isIntact(error.file)) ? error.file : undefined
    })
    const record = marked ? undefined : await this.#stored(user, storeAsOf(want))
    const file = marked ?? (record && (await this.#recorded([record], want)))
    if (!file || digest === undefined) return file
    if (file.digest !== digest) return undefined
    await this.#takeMetadata(want, file)
    return file
  }

  /**
   * Resolves with the file of a completion marker or of a record of the same upload, if the stored file has not changed since
   * then. Throws `UnreadContent` if only the content of the file can show this.
   */
  async find(
    { marker, files }: Pick<FoundUpload, 'marker' | 'files'>,
    want: NewTransfer,
    read: ReadContent | undefined,
  ): Promise<StoredFile | undefined> {
    return (await this.#marked(marker, want, read)) ?? (await this.#recorded(files, want))
  }

  /** Replaces the metadata of a stored file with that of a repeated upload, if the upload has any. */
  async #takeMetadata({ user, metadata }: NewTransfer, { storedName }: StoredFile): Promise<void> {
    const record = metadata && (await this.#stored(user, storedName))
    if (!record || isSameMetadata(metadata, record.metadata)) return
    await this.#member.run(({ files }) => files.put([{ ...record, metadata }]))
  }

  /** Resolves with the record of the file that is stored under a name, if it has one. */
  async #stored(user: string, name: string): Promise<FileRecord | undefined> {
    const version = await this.#names.version(user, name)
    if (version === undefined) return undefined
    return (await this.#member.run(({ files }) => files.get([{ user, name, version }])))[0]
  }

  /** Resolves with the file of the same upload if it has a record and is stored under its name. */
  async #recorded(files: readonly FileRecord[], want: NewTransfer): Promise<StoredFile | undefined> {
    const same = files.filter((file) => sameUpload(file, want))
    if (same.length === 0) return undefined
    const { user, name } = want
    const storedName = storeAsOf(want)
    const present = await this.#names.version(user, storedName)
    const file = same.find(({ version }) => version === present)
    if (!file) return undefined
    const { size, algorithm, digest } = file
    return { user, name, storedName, replaced: false, size, algorithm, digest }
  }

  async #marked(
    marker: Announcement | undefined,
    want: NewTransfer,
    read: ReadContent | undefined,
  ): Promise<StoredFile | undefined> {
    if (!marker || !sameUpload({ ...marker.file, modifiedAt: marker.modifiedAt }, want)) return undefined
    const { file, version } = marker
    const present = await this.#names.version(file.user, file.storedName)
    if (present === undefined) return undefined
    if (present !== version) {
      if (read?.version !== present) throw new UnreadContent(file, present)
      if (!read.isIntact) return undefined
    }
    // The name of an announced file may not be durable.
    await this.#names.flushName?.(file.user, file.storedName)
    return file
  }
}
