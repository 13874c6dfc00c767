import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Storage, TransferRecord } from '../../ports/storage.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { ServerLog } from '../logEvents.ts'
import type { RetentionClock } from '../retentionClock.ts'
import { durableOf } from './totals.ts'
import type { Uploads } from './uploads.ts'

/** How often old uploads are looked for, unless they grow old sooner. */
const mostSweepMs = 3_600_000

export interface OldUploadsOptions {
  readonly platform: Platform
  readonly limits: Limits
  readonly storage: Storage
  readonly log: ServerLog
  readonly age: Pick<RetentionClock, 'now'>
}

/**
 * Removes unfinished uploads that nobody has gone on with for `uploadAgeMs`: record and partial file. Never one that is open,
 * nor one that is verified, nor a published file.
 */
export class OldUploads {
  readonly #options: OldUploadsOptions
  readonly #uploads: Uploads
  readonly #alarm: Alarm
  #sweeping: Promise<void> = Promise.resolve()
  #closed = false
  #damagesTold = 0
  /** Files of orphans. They are few, since each one results from damage to a disk. */
  readonly #orphansTold = new Set<string>()

  constructor(options: OldUploadsOptions, uploads: Uploads) {
    this.#options = options
    this.#uploads = uploads
    this.#alarm = new Alarm(options.platform.clock, () => {
      this.#sweeping = this.#sweep()
    })
  }

  /** From now on they are looked for again and again. */
  start(): void {
    if (this.#closed) return
    const { platform, limits } = this.#options
    this.#alarm.by(platform.clock.now() + Math.min(mostSweepMs, limits.uploadAgeMs))
  }

  /** Resolves when nothing is being removed any more. */
  close(): Promise<void> {
    this.#closed = true
    this.#alarm.stop()
    return this.#sweeping
  }

  /** Logs the damage found since the last call. */
  async tellDamages(): Promise<void> {
    const { storage, log } = this.#options
    const damages = await storage.transfers.damages()
    for (const { file, offset, bytes, atEnd } of damages.slice(this.#damagesTold)) {
      if (atEnd) log({ level: 'warn', event: 'uploads-cut', file, offset, bytes })
      else log({ level: 'error', event: 'uploads-damaged', file, offset, bytes })
    }
    this.#damagesTold = Math.max(this.#damagesTold, damages.length)
  }

  /** Removes old partial files without a record, and logs each partial file without a record once. */
  async lookForOrphans(): Promise<void> {
    const { storage, log } = this.#options
    try {
      for (const { file, bytes, removed } of await storage.files.sweep(this.#before())) {
        if (!removed && this.#orphansTold.has(file)) continue
        if (removed) this.#orphansTold.delete(file)
        else this.#orphansTold.add(file)
        log({ level: 'warn', event: 'upload-without-record', file, bytes, removed })
      }
    } catch (error) {
      log({ level: 'error', event: 'uploads-not-swept', text: OspError.from(error).message })
    }
  }

  /** Removes the upload of this record if it is old; where that fails, the log says so. */
  async look({ user, name, verified, updatedAt }: TransferRecord): Promise<void> {
    if (verified || updatedAt >= this.#before()) return
    try {
      await this.#uploads.run(user, name, async (upload) => {
        if (!upload.instance && !upload.transfer) await this.#remove(user, name)
      })
    } catch (error) {
      const { log } = this.#options
      log({ level: 'error', event: 'upload-not-expired', user, name, text: OspError.from(error).message })
    }
  }

  async #remove(user: string, name: string): Promise<void> {
    const { storage, log } = this.#options
    // Asked once more: somebody may have gone on with it since it was looked at.
    const removed = await storage.transfers.expire(user, name, this.#before())
    if (!removed) return
    await storage.files.remove(user, name)
    log({ level: 'warn', event: 'upload-expired', user, name, bytes: durableOf(removed) })
  }

  async #sweep(): Promise<void> {
    const { storage, log } = this.#options
    try {
      await this.tellDamages()
      for await (const record of storage.transfers.records()) {
        if (this.#closed) return
        await this.look(record)
      }
      await this.lookForOrphans()
    } catch (error) {
      log({ level: 'error', event: 'uploads-not-swept', text: OspError.from(error).message })
    }
    this.start()
  }

  #before(): number {
    return this.#options.age.now() - this.#options.limits.uploadAgeMs
  }
}
