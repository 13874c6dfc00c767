import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Log } from '../../ports/log.ts'
import type { DigestName, Platform } from '../../ports/platform.ts'
import type { FileSource, OpenSource } from '../../ports/source.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import { hex } from '../../runtime/hex.ts'
import { IncrementalDigest } from '../../runtime/incrementalDigest.ts'
import { wait } from '../../runtime/wait.ts'
import { refusalBackoff } from '../connection/refusalBackoff.ts'
import type { ClientSession } from '../connection/session.ts'
import type { UploadLink } from './buffers.ts'
import type { ClientUpload } from './clientUpload.ts'
import { openGuarded } from './guardedSource.ts'
import type { SentFile } from './upload.ts'
import { UploadAttempt } from './uploadAttempt.ts'

export interface UploadJobOptions {
  readonly upload: ClientUpload
  readonly source: FileSource
  readonly algorithm: DigestName
  readonly platform: Platform
  readonly session: ClientSession<UploadLink>
  readonly pace: Pacer
  /** Time for retries after refusals that are not final. */
  readonly retryForMs: number
  readonly log: Log
}

/**
 * Carries out one upload in several attempts. It retries after lost links, refusals, digests that differ, and changes of the
 * source; each a bounded number of times or for a bounded time.
 */
export class UploadJob {
  readonly #options: UploadJobOptions
  #source: OpenSource | undefined
  #digest: IncrementalDigest | undefined
  #fresh = false
  #digestTries = 0
  #sourceTries = 0
  /** Counts refusals without a byte of progress between them. */
  readonly #backoff: Backoff
  #best = 0
  /** The time of the next try, by the clock, while it waits. */
  retryAtMs: number | undefined
  /** The properties of the source when it was last opened. */
  #opened: Pick<OpenSource, 'size' | 'modifiedAt'> | undefined

  constructor(options: UploadJobOptions) {
    this.#options = options
    this.#backoff = refusalBackoff(options.platform, options.retryForMs)
  }

  /**
   * Resolves when the file is stored, which can happen after `signal` has aborted. Rejects with a final error, or with
   * `closed` if `signal` has aborted; it can be run again then.
   */
  async run(signal: AbortSignal): Promise<SentFile> {
    try {
      for (;;) {
        const file = await this.#try(signal)
        if (file) return file
      }
    } finally {
      await this.#close()
    }
  }

  /** Makes one try. Resolves with `undefined` if another one is due. */
  async #try(signal: AbortSignal): Promise<SentFile | undefined> {
    let link: UploadLink | undefined
    try {
      const source = await this.#open(signal)
      link = await this.#options.session.online(signal)
      return await this.#send(link, source, signal)
    } catch (error) {
      const failure = OspError.from(error)
      if (signal.aborted) throw failure
      const waitMs = await this.#recover(failure, link)
      const { phase } = this.#options.upload
      if (phase === 'sending' || phase === 'verifying') this.#options.upload.move('stall', failure)
      await this.#wait(waitMs, signal)
      return undefined
    }
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    if (ms <= 0) return
    const { clock } = this.#options.platform
    this.retryAtMs = clock.now() + ms
    try {
      await wait(clock, ms, signal)
    } finally {
      this.retryAtMs = undefined
    }
  }

  async #open(signal: AbortSignal): Promise<OpenSource> {
    if (this.#source) return this.#source
    const { source, platform, algorithm } = this.#options
    await platform.digests.load(algorithm)
    const open = await openGuarded(source, signal)
    const read = (into: Uint8Array, offset: number) => open.read(into, offset)
    this.#source = open
    this.#digest = new IncrementalDigest({ digests: platform.digests, algorithm, read })
    const { size, modifiedAt } = open
    const same = this.#opened?.size === size && this.#opened.modifiedAt === modifiedAt
    this.#opened = { size, modifiedAt }
    if (!same) this.#progressed(0, 0)
    return open
  }

  /** Closes the source. A failure is only logged: it does not concern the bytes that were read. */
  async #close(): Promise<void> {
    const { upload, log } = this.#options
    const source = this.#source
    this.#source = undefined
    try {
      await source?.[Symbol.asyncDispose]()
    } catch (error) {
      const { message: text } = OspError.from(error)
      log({ level: 'warn', event: 'source-not-closed', name: upload.name, text })
    }
  }

  async #send(link: UploadLink, source: OpenSource, signal: AbortSignal): Promise<SentFile> {
    const { upload, platform, pace, algorithm } = this.#options
    const digest = this.#digest
    if (!digest) throw new OspError('internal', 'an open source has no digest')
    if (upload.phase === 'waiting') upload.move('begin')
    const attempt = new UploadAttempt({
      link,
      clock: platform.clock,
      pace,
      source,
      name: upload.name,
      algorithm,
      digest,
      fresh: this.#fresh,
      progress: upload.progress.acknowledged,
      signal,
      granted: () => {
        this.#fresh = false
      },
      standing: (progress, durable = upload.progress.durable) => this.#progressed(progress, durable),
      transferred: (bytes) => upload.addTransferred(bytes),
      verifying: (yes) => this.#verifying(yes),
    })
    const stored = await attempt.run()
    return { name: upload.name, ...stored, size: source.size, algorithm, digest: hex(digest.now()) }
  }

  /** Does nothing if the upload was paused or cancelled meanwhile. */
  #verifying(yes: boolean): void {
    const { upload } = this.#options
    if (upload.phase === (yes ? 'sending' : 'verifying')) upload.move(yes ? 'verify' : 'resend')
  }

  #progressed(progress: number, durable: number): void {
    const size = this.#source?.size ?? 0
    const acknowledged = Math.min(progress, size)
    this.#options.upload.setProgress(acknowledged, Math.min(durable, acknowledged), size)
    if (progress <= this.#best) return
    this.#best = progress
    this.#backoff.reset()
  }

  /** Prepares the next try and returns the milliseconds until it. Throws `error` if it is final. */
  async #recover(error: OspError, link: UploadLink | undefined): Promise<number> {
    if (error.code === 'digest-mismatch') {
      if (++this.#digestTries > clientLimits.digestTries) throw error
      this.#fresh = true
      this.#best = 0
      return 0
    }
    if (error.code === 'source-changed') {
      if (++this.#sourceTries > clientLimits.sourceTries) throw error
      await this.#close()
      this.#fresh = false
      this.#best = 0
      return 0
    }
    if (link?.peer.ended) return 0
    // A source that could not be opened for lack of file descriptors is retried.
    if (error.retry === 'never' || !(link || error.code === 'overloaded')) throw error
    return this.#backoff.next(error)
  }
}
