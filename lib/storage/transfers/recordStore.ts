import { OspError } from '../../errors.ts'
import type { Damage } from '../../ports/mailboxes.ts'
import type { TransferRecord } from '../../ports/storage.ts'
import { Fences } from './fences.ts'
import type { UploadLog } from './uploadLog.ts'

/**
 * State shared by the records and the bytes of uploads: the log while the storage is open, and the tokens for writing.
 */
export class RecordStore {
  readonly fences = new Fences()
  /** Damage found while the storage was opened, in addition to the damage in the log. */
  readonly damages: Damage[] = []
  #log: UploadLog | undefined

  /** Throws OspError `closed` while the storage is not open. */
  get log(): UploadLog {
    if (!this.#log) throw new OspError('closed', 'the storage is closed; open it first')
    return this.#log
  }

  /** Throws OspError `closed` while the storage is not open. */
  checkOpen(): void {
    void this.log
  }

  /** The record of an upload. */
  record(user: string, name: string): TransferRecord | undefined {
    return this.log.record(user, name)
  }

  /** Loads the tokens of all records. */
  async open(log: UploadLog): Promise<void> {
    for (const { user, name, token } of log.records()) await this.fences.raise(user, name, token)
    this.#log = log
  }

  /** Refuses all further calls. Resolves when earlier calls have ended. */
  async close(): Promise<void> {
    const log = this.#log
    this.#log = undefined
    this.damages.length = 0
    this.fences.clear()
    await log?.close()
  }
}
