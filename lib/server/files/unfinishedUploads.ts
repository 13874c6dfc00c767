import { OspError } from '../../errors.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Storage, TransferRecord } from '../../ports/storage.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { ServerContext } from '../app.ts'
import type { DamageReporter } from '../damageReporter.ts'
import { RetentionClock } from '../retentionClock.ts'
import type { UploadTable } from './uploadTable.ts'

/** Longest time between two searches for expired uploads and for verified ones that are not complete. */
const maxSweepMs = 3_600_000

/** Time between two sweeps of the catalogue, each of which looks at every stored file. */
const catalogueSweepMs = 24 * 3_600_000

/** An upload that is not stored yet. */
export interface UnfinishedUpload {
  readonly user: string
  readonly name: string
  readonly size: number
  /** Leading bytes that are durable. */
  readonly durable: number
  /** Disk space that it takes, in bytes. */
  readonly diskBytes: number
  /** Milliseconds since its client last continued it. */
  readonly idleMs: number
  /** A client is sending it. */
  readonly running: boolean
}

/**
 * The records and partial files of unfinished uploads: lists and removes them for the operator, and removes those that no client
 * has continued for `uploadAgeMs`. Open uploads, verified uploads and published files never expire; a verified upload that is not
 * open is published.
 */
export class UnfinishedUploads {
  readonly #context: ServerContext
  readonly #uploads: UploadTable
  readonly #damages: DamageReporter
  /** Publishes the verified uploads that a fault has left incomplete. */
  readonly #complete: () => Promise<void>
  readonly #alarm: Alarm
  #sweeping: Promise<void> = Promise.resolve()
  #closed = false
  /** When the catalogue was last swept, or the server was started. */
  #catalogueSweptMs: number
  /** Partial files without a record that were logged. They are few, since each one results from damage to a disk. */
  readonly #loggedOrphans = new Set<string>()

  constructor(context: ServerContext, uploads: UploadTable, damages: DamageReporter, complete: () => Promise<void>) {
    this.#context = context
    this.#uploads = uploads
    this.#damages = damages
    this.#complete = complete
    this.#catalogueSweptMs = context.platform.clock.now()
    this.#alarm = new Alarm(context.platform.clock, () => {
      this.#sweeping = this.#sweep()
    })
  }

  /** Starts to search for expired uploads regularly. */
  start(): void {
    if (this.#closed) return
    const { platform, limits } = this.#context
    this.#alarm.by(platform.clock.now() + Math.min(maxSweepMs, limits.uploadAgeMs))
  }

  /** Resolves when no removal is pending. */
  close(): Promise<void> {
    this.#closed = true
    this.#alarm.stop()
    return this.#sweeping
  }

  /** Lists the unfinished uploads, the longest idle first. */
  async list(): Promise<readonly UnfinishedUpload[]> {
    const running = new Set(Array.from(this.#uploads.receiving(), ({ user, name }) => `${user}/${name}`))
    return listed(this.#context.storage, this.#context.age.now(), running)
  }

  /**
   * Removes record and partial file, also of an upload that is running: its client receives `cancelled`. Keeps an upload that was
   * idle for less than `idleMs`, or that is verified. Resolves with whether an upload was removed.
   */
  async remove(user: string, name: string, idleMs = 0): Promise<boolean> {
    return this.#uploads.run(user, name, async (upload) => {
      const { storage, age, log } = this.#context
      if (idleMs > 0 && upload.instance) return false
      const record = await recordOf(storage, user, name)
      if (!record || record.verified || !isIdle(record, age.now(), idleMs)) return false
      this.#uploads.scheduler.remove(upload)
      await this.#uploads.end(upload, 'CancelFileReq', 'cancelled')
      const removed = await removeFrom(storage, user, name)
      if (removed) log({ level: 'info', event: 'upload-removed', user, name, bytes: durableOf(record) })
      return removed
    })
  }

  /** Removes old partial files without a record, and logs each partial file without a record once. */
  async sweepOrphans(): Promise<void> {
    const { storage, log } = this.#context
    try {
      for (const { file, bytes, removed } of await storage.files.sweep(this.#expiredBefore())) {
        if (!removed && this.#loggedOrphans.has(file)) continue
        if (removed) this.#loggedOrphans.delete(file)
        else this.#loggedOrphans.add(file)
        log({ level: 'warn', event: 'upload-without-record', file, bytes, removed })
      }
    } catch (error) {
      log({ level: 'error', event: 'uploads-not-swept', text: OspError.from(error).message })
    }
  }

  /** Removes the upload of this record if it has expired. Logs an error if that fails. */
  async expire({ user, name, verified, updatedAt }: TransferRecord): Promise<void> {
    if (verified || updatedAt >= this.#expiredBefore()) return
    const { storage, log } = this.#context
    try {
      await this.#uploads.run(user, name, async (upload) => {
        if (upload.instance || upload.transfer) return
        // A client may have continued it since the record was read.
        const removed = await storage.transfers.expire(user, name, this.#expiredBefore())
        if (!removed) return
        await storage.files.remove(user, name)
        log({ level: 'warn', event: 'upload-expired', user, name, bytes: durableOf(removed) })
      })
    } catch (error) {
      log({ level: 'error', event: 'upload-not-expired', user, name, text: OspError.from(error).message })
    }
  }

  async #sweep(): Promise<void> {
    const { storage, log } = this.#context
    try {
      await this.#damages.report()
      for await (const record of storage.transfers.records()) {
        if (this.#closed) return
        await this.expire(record)
      }
      await this.#complete()
      await this.sweepOrphans()
      await this.#sweepCatalogue()
    } catch (error) {
      log({ level: 'error', event: 'uploads-not-swept', text: OspError.from(error).message })
    }
    this.start()
  }

  /** Removes the records of files that other programs have removed, once a day. */
  async #sweepCatalogue(): Promise<void> {
    const { storage, platform } = this.#context
    const now = platform.clock.now()
    if (now < this.#catalogueSweptMs + catalogueSweepMs) return
    await storage.catalogue?.sweep?.(() => this.#closed)
    this.#catalogueSweptMs = now
  }

  #expiredBefore(): number {
    return this.#context.age.now() - this.#context.limits.uploadAgeMs
  }
}

/** Lists the unfinished uploads of an open storage that no server uses, the longest idle first. */
export async function unfinishedUploads(storage: Storage, platform: Platform): Promise<readonly UnfinishedUpload[]> {
  return listed(storage, await ageOf(storage, platform), new Set())
}

/** Removes an unfinished upload of such a storage if it was idle for `idleMs`. Resolves with whether one was removed. */
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

/** Returns the number of durable leading bytes of an upload: up to the last checkpoint, or all once it is verified. */
export const durableOf = ({ checkpoints, verified }: TransferRecord): number =>
  verified?.size ?? checkpoints.at(-1)?.offset ?? 0

/** Resolves with the record of an upload, if there is one. */
export async function recordOf(storage: Storage, user: string, name: string): Promise<TransferRecord | undefined> {
  const { transfers } = storage
  if (transfers.record) return transfers.record(user, name)
  for await (const record of transfers.records(user)) if (record.name === name) return record
  return undefined
}

async function listed(storage: Storage, now: number, running: ReadonlySet<string>): Promise<UnfinishedUpload[]> {
  const all: UnfinishedUpload[] = []
  for await (const record of storage.transfers.records()) {
    const { user, name, size, updatedAt, verified } = record
    // The server publishes a verified upload by itself.
    if (verified) continue
    all.push({
      user,
      name,
      size,
      durable: durableOf(record),
      diskBytes: await storage.files.heldBytes(user, name),
      idleMs: Math.max(0, now - updatedAt),
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
