import { OspError } from '../../errors.ts'
import type { NewTransfer, StoredFile, TransferRecord, VersionedFile } from '../../ports/storage.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { FileNotices } from './fileNotices.ts'
import { endsUpload, finishVerified, storedLine } from './publish.ts'

/** The maximum number of attempts to make a change while other servers store files of the same names. */
const tries = 16

/** Reports stored files to the log, to the embedding program and to other users. No file is reported twice at the same time. */
export class StoredReports {
  readonly #context: ServerContext
  readonly #notices: FileNotices | undefined
  readonly #onStored: (files: readonly VersionedFile[]) => Promise<void>
  /** The files that are being reported. If a change waits for one, it has a promise, which resolves when the report has ended. */
  readonly #begun = new Map<string, Deferred<void> | undefined>()

  /** `onStored` informs the embedding program. It resolves as `ended` does. */
  constructor(
    context: ServerContext,
    notices: FileNotices | undefined,
    onStored: (files: readonly VersionedFile[]) => Promise<void>,
  ) {
    this.#context = context
    this.#notices = notices
    this.#onStored = onStored
  }

  /** Reports files that were logged. Resolves when their messages are stored, or wait. */
  stored(files: readonly VersionedFile[]): Promise<void> {
    for (const file of files) this.begin(file)
    return this.#onStored(files)
  }

  /** Logs and reports a completed file if a fault kept it from being reported when it was published. */
  missed(file: StoredFile, by: Connection): void {
    const { transfers } = this.#context.storage
    if ((transfers.isReported?.(file) ?? true) || this.#begun.has(keyOf(file))) return
    this.#context.log(storedLine(file, by, true))
    void this.stored([file])
  }

  /** Marks a file as being reported. Returns false if it is already being reported. */
  begin(file: StoredFile): boolean {
    const key = keyOf(file)
    if (this.#begun.has(key)) return false
    this.#begun.set(key, undefined)
    return true
  }

  /** Logs files that an earlier server stored and may not have reported. Returns the files that are not yet being reported. */
  recovered(files: readonly VersionedFile[]): readonly VersionedFile[] {
    const recovered = files.filter((file) => this.begin(file))
    for (const file of recovered) this.#context.log(storedLine(file, undefined, true))
    return recovered
  }

  /** Sends the messages about files, and marks the files as reported, after the log and the listeners have received them. */
  async ended(files: readonly VersionedFile[]): Promise<void> {
    try {
      // If this fails, the files are reported again before they are replaced, or at the next start.
      if (this.#notices?.isNeeded(files)) await this.#notices.report(files)
      else await this.#context.storage.transfers.reported(files)
    } finally {
      for (const file of files) {
        const key = keyOf(file)
        this.#begun.get(key)?.resolve()
        this.#begun.delete(key)
      }
    }
  }

  /**
   * Makes a change after the earlier files of these names were reported, so that nothing is lost if it replaces them. Rejects with the
   * error that keeps the messages about them waiting.
   */
  async afterEarlier<T>(names: readonly Pick<StoredFile, 'user' | 'name'>[], change: () => Promise<T>): Promise<T> {
    for (let left = tries; ; left--) {
      for (const name of names) {
        const key = keyOf(name)
        if (this.#begun.has(key)) await this.#reported(key)
      }
      try {
        return await change()
      } catch (error) {
        if (!(error instanceof EarlierFiles) || left === 0) throw error
        await this.#end(error)
      }
    }
  }

  /** Resolves when the file that is being reported under this key has been reported, or if this failed. */
  #reported(key: string): Promise<void> {
    const reporting = this.#begun.get(key) ?? deferred()
    this.#begun.set(key, reporting)
    return reporting.promise
  }

  /** Makes a stored file with this digest no longer count as the result of an upload. The file stays. */
  forget(want: NewTransfer, digest: string): Promise<void> {
    return this.afterEarlier([want], () => this.#context.storage.transfers.forget(want, digest))
  }

  /** Reports stored files, and completes verified uploads. */
  async #end({ own, others, unfinished }: EarlierFiles): Promise<void> {
    for (const record of unfinished) {
      const file = await this.finish(record)
      if (file) await this.stored([file])
    }
    for (const { user } of others) this.#notices?.checkUnblocked(user)
    await this.stored(this.recovered(others))
    await this.ended(own)
    for (const { user } of [...own, ...others]) this.#notices?.checkUnblocked(user)
  }

  /** Publishes a verified upload. Resolves with its file, unless another server publishes it, or the upload had to be removed. */
  async finish(record: TransferRecord): Promise<VersionedFile | undefined> {
    try {
      return await finishVerified(this.#context, record)
    } catch (error) {
      if (!endsUpload(error) && OspError.from(error).code !== 'superseded') throw error
      return undefined
    }
  }
}

const keyOf = ({ user, name }: Pick<StoredFile, 'user' | 'name'>) => `${user}/${name}`
