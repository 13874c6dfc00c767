import type { StoredFile } from '../../ports/storage.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { FileNotices } from './fileNotices.ts'
import { storedLine } from './publish.ts'

/** Reports stored files to the log, to the embedding program and to other users. No file is reported twice at the same time. */
export class StoredReports {
  readonly #context: ServerContext
  readonly #notices: FileNotices | undefined
  readonly #onStored: (files: readonly StoredFile[]) => Promise<void>
  /** The files that are being reported. */
  readonly #begun = new Set<string>()

  /** `onStored` informs the embedding program. It resolves as `ended` does. */
  constructor(
    context: ServerContext,
    notices: FileNotices | undefined,
    onStored: (files: readonly StoredFile[]) => Promise<void>,
  ) {
    this.#context = context
    this.#notices = notices
    this.#onStored = onStored
  }

  /** Reports files that were logged. Resolves when their messages are stored, or wait. */
  stored(files: readonly StoredFile[]): Promise<void> {
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
    const before = this.#begun.size
    return this.#begun.add(keyOf(file)).size > before
  }

  /** Logs files that an earlier server stored and may not have reported. Returns the files that are not yet being reported. */
  recovered(files: readonly StoredFile[]): readonly StoredFile[] {
    const recovered = files.filter((file) => this.begin(file))
    for (const file of recovered) this.#context.log(storedLine(file, undefined, true))
    return recovered
  }

  /** Sends the messages about files, and marks the files as reported, after the log and the listeners have received them. */
  async ended(files: readonly StoredFile[]): Promise<void> {
    try {
      // If this fails, the next start reports the files again.
      if (this.#notices?.isNeeded(files)) await this.#notices.report(files)
      else await this.#context.storage.transfers.reported(files)
    } finally {
      for (const file of files) this.#begun.delete(keyOf(file))
    }
  }
}

const keyOf = ({ user, name }: StoredFile) => `${user}/${name}`
