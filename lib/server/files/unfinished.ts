import type { Platform } from '../../ports/platform.ts'
import type { Storage, TransferRecord } from '../../ports/storage.ts'
import { RetentionClock } from '../retentionClock.ts'
import type { OldUploadsOptions } from './oldUploads.ts'
import { durableOf, recordOf } from './totals.ts'
import type { Uploads } from './uploads.ts'

/** An upload that is not stored yet. */
export interface UnfinishedUpload {
  readonly user: string
  readonly name: string
  readonly size: number
  /** Leading bytes that are durable. */
  readonly durable: number
  /** Bytes of the disk that it takes. */
  readonly diskBytes: number
  /** Milliseconds since its client went on with it last. */
  readonly idleMs: number
  /** A client is sending it now. */
  readonly running: boolean
}

/** The unfinished uploads as the operator sees them. */
export class UnfinishedUploads {
  readonly #options: OldUploadsOptions
  readonly #uploads: Uploads

  constructor(options: OldUploadsOptions, uploads: Uploads) {
    this.#options = options
    this.#uploads = uploads
  }

  /** All of them, the longest idle first. */
  async list(): Promise<readonly UnfinishedUpload[]> {
    const { storage, age } = this.#options
    const running = new Set(Array.from(this.#uploads.receiving(), ({ user, name }) => `${user}/${name}`))
    return listed(storage, age.now(), running)
  }

  /**
   * Removes record and partial file, also of one that runs: its client is told `cancelled`. One that was idle for less than
   * `idleMs` stays, and so does one that is verified. Resolves with whether there was one.
   */
  async remove(user: string, name: string, idleMs = 0): Promise<boolean> {
    return this.#uploads.run(user, name, async (upload) => {
      const { storage, age, log } = this.#options
      if (idleMs > 0 && upload.instance) return false
      const record = await recordOf(storage, user, name)
      if (!record || record.verified || !isIdle(record, age.now(), idleMs)) return false
      this.#uploads.waived(upload)
      this.#uploads.free(upload, 'CancelFileReq', 'cancelled')
      await this.#uploads.close(upload)
      const removed = await removeFrom(storage, user, name)
      if (removed) log({ level: 'info', event: 'upload-removed', user, name, bytes: durableOf(record) })
      return removed
    })
  }
}

/** The unfinished uploads of a storage that no server has open, the longest idle first. It is opened by then. */
export async function unfinishedUploads(storage: Storage, platform: Platform): Promise<readonly UnfinishedUpload[]> {
  return listed(storage, await ageOf(storage, platform), new Set())
}

/** Removes one of them, if it was idle for `idleMs`. Resolves with whether there was one. */
export async function removeUnfinished(
  storage: Storage,
  platform: Platform,
  { user, name }: Pick<UnfinishedUpload, 'user' | 'name'>,
  idleMs = 0,
): Promise<boolean> {
  const record = await recordOf(storage, user, name)
  if (!record || !isIdle(record, await ageOf(storage, platform), idleMs)) return false
  return removeFrom(storage, user, name)
}

async function listed(storage: Storage, now: number, running: ReadonlySet<string>): Promise<UnfinishedUpload[]> {
  const all: UnfinishedUpload[] = []
  for await (const record of storage.transfers.records()) {
    const { user, name, size, updatedAt, verified } = record
    // What is verified is as good as stored.
    if (verified) continue
    const diskBytes = await storage.files.heldBytes(user, name)
    const idleMs = Math.max(0, now - updatedAt)
    all.push({
      user,
      name,
      size,
      durable: durableOf(record),
      diskBytes,
      idleMs,
      running: running.has(`${user}/${name}`),
    })
  }
  return all.sort((a, b) => b.idleMs - a.idleMs)
}

async function removeFrom({ transfers, files }: Storage, user: string, name: string): Promise<boolean> {
  const removed = await transfers.expire(user, name, Number.POSITIVE_INFINITY)
  if (removed) await files.remove(user, name)
  return removed !== undefined
}

async function ageOf(storage: Storage, { clock }: Platform): Promise<number> {
  const age = new RetentionClock(clock, storage.mailboxes)
  await age.open()
  return age.now()
}

const isIdle = ({ updatedAt }: TransferRecord, now: number, idleMs: number) => now - updatedAt >= idleMs
