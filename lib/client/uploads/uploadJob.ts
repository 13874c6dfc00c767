import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Log } from '../../ports/log.ts'
import type { DigestName, Platform } from '../../ports/platform.ts'
import type { FileSource, OpenSource } from '../../ports/source.ts'
import { hex } from '../../runtime/hex.ts'
import { IncrementalDigest } from '../../runtime/incrementalDigest.ts'
import { wait } from '../../runtime/wait.ts'
import { Backoff } from '../connection/backoff.ts'
import type { ClientSession } from '../connection/session.ts'
import type { ClientUpload } from './clientUpload.ts'
import { openGuarded } from './guardedSource.ts'
import type { SentFile } from './upload.ts'
import { UploadAttempt } from './uploadAttempt.ts'
import type { UploadLink } from './uploadLink.ts'

export interface UploadJobOptions {
  readonly upload: ClientUpload
  readonly source: FileSource
  readonly algorithm: DigestName
  readonly platform: Platform
  readonly session: ClientSession<UploadLink>
  readonly pace: Pacer
  /** How long a refusal that can pass is waited for. */
  readonly retryForMs: number
  readonly log: Log
}

/**
 * Carries one upload through: over links that break, refusals that pass, digests that differ, and a source that changes
 * meanwhile, each a bounded number of times or for a bounded time.
 */
export class UploadJob {
  readonly #options: UploadJobOptions
  #source: OpenSource | undefined
  #digest: IncrementalDigest | undefined
  #fresh = false
  #digestTries = 0
  #sourceTries = 0
  /** With refusals between which there is no byte of progress. */
  readonly #patience: Backoff
  #best = 0
  /** When it is tried again, by the clock, while it waits for that. */
  retryAtMs: number | undefined
  /** What the source was when it was opened last. */
  #opened: Pick<OpenSource, 'size' | 'modifiedAt'> | undefined

  constructor(options: UploadJobOptions) {
    this.#options = options
    this.#patience = new Backoff(options.platform, options.retryForMs)
  }

  /**
   * Resolves when the file is stored, which it can be although `signal` has aborted. Rejects with what ended it for good,
   * or `closed` if `signal` has aborted; it can be run again then.
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

  /** One try; `undefined` if another one is due. */
  async #try(signal: AbortSignal): Promise<SentFile | undefined> {
    let link: UploadLink | undefined
    try {
      const source = await this.#open(signal)
      link = await this.#options.session.online(signal)
      return await this.#send(link, source, signal)
    } catch (error) {
      const why = OspError.from(error)
      if (signal.aborted) throw why
      const waitMs = await this.#recover(why, link)
      const { phase } = this.#options.upload
      if (phase === 'sending' || phase === 'verifying') this.#options.upload.move('stall', why)
      await this.#rest(waitMs, signal)
      return undefined
    }
  }

  async #rest(ms: number, signal: AbortSignal): Promise<void> {
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
    if (!same) this.#stand(0, 0)
    return open
  }

  /** That a source cannot be closed says nothing about what was read from it. */
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
    if (upload.phase === 'waiting') upload.move('turn')
    const sending = new UploadAttempt({
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
      standing: (progress, durable = upload.progress.durable) => this.#stand(progress, durable),
      transferred: (bytes) => upload.count(bytes),
      verifying: (yes) => this.#verifying(yes),
    })
    const stored = await sending.run()
    return { name: upload.name, ...stored, size: source.size, algorithm, digest: hex(digest.now()) }
  }

  /** It can have been paused or cancelled meanwhile. */
  #verifying(yes: boolean): void {
    const { upload } = this.#options
    if (upload.phase === (yes ? 'sending' : 'verifying')) upload.move(yes ? 'verify' : 'again')
  }

  #stand(progress: number, durable: number): void {
    const size = this.#source?.size ?? 0
    const acknowledged = Math.min(progress, size)
    this.#options.upload.stand(acknowledged, Math.min(durable, acknowledged), size)
    if (progress <= this.#best) return
    this.#best = progress
    this.#patience.reset()
  }

  /** What to do about `why`: returns how long to wait before the next try, or throws if there is none. */
  async #recover(why: OspError, link: UploadLink | undefined): Promise<number> {
    if (why.code === 'digest-mismatch') {
      if (++this.#digestTries > clientLimits.digestTries) throw why
      this.#fresh = true
      this.#best = 0
      return 0
    }
    if (why.code === 'source-changed') {
      if (++this.#sourceTries > clientLimits.sourceTries) throw why
      await this.#close()
      this.#fresh = false
      this.#best = 0
      return 0
    }
    if (link?.peer.ended) return 0
    // A source that could not be opened for lack of file descriptors is retried.
    if (why.retry === 'never' || !(link || why.code === 'overloaded')) throw why
    return this.#patience.next(why)
  }
}
