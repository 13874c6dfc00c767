import type { Pace } from '../core/pace.ts'
import { OspError } from '../errors.ts'
import { clientLimits } from '../limits.ts'
import type { DigestName, Platform } from '../ports/platform.ts'
import type { FileSource, OpenSource } from '../ports/source.ts'
import { FollowingDigest } from '../runtime/followingDigest.ts'
import { hex } from '../runtime/hex.ts'
import { wait } from '../runtime/wait.ts'
import { openGuarded } from './guardedSource.ts'
import { Sending } from './sending.ts'
import type { ClientSession, OnlineLink } from './session.ts'
import { type SentFile, Upload } from './upload.ts'

export interface UploadRunOptions {
  readonly upload: Upload
  readonly source: FileSource
  readonly algorithm: DigestName
  readonly platform: Platform
  readonly session: ClientSession
  readonly pace: Pace
  /** How long a refusal that can pass is waited for. */
  readonly retryForMs: number
}

const { control } = Upload

/**
 * Carries one upload through: over links that break, refusals that pass, digests that differ, and a source that changes
 * meanwhile, each a bounded number of times or for a bounded time.
 */
export class UploadRun {
  readonly #options: UploadRunOptions
  #source: OpenSource | undefined
  #digest: FollowingDigest | undefined
  #fresh = false
  #digestTries = 0
  #sourceTries = 0
  /** Refusals in a row, without a byte of progress between them. */
  #refusals = 0
  #refusedSince: number | undefined
  #best = 0

  constructor(options: UploadRunOptions) {
    this.#options = options
  }

  /** Resolves when the file is stored. Rejects with what ended it for good, or `closed` if `signal` has aborted. */
  async run(signal: AbortSignal): Promise<SentFile> {
    try {
      for (;;) {
        const file = await this.#try(signal)
        if (file) return file
      }
    } finally {
      await this.#source?.[Symbol.asyncDispose]()
      this.#source = undefined
    }
  }

  /** One try; `undefined` if another one is due. */
  async #try(signal: AbortSignal): Promise<SentFile | undefined> {
    let link: OnlineLink | undefined
    try {
      const source = await this.#open(signal)
      link = await this.#options.session.online(signal)
      return await this.#send(link, source, signal)
    } catch (error) {
      const why = OspError.from(error)
      if (signal.aborted) throw why
      const waitMs = await this.#recover(why, link)
      const { phase } = this.#options.upload
      if (phase === 'sending' || phase === 'verifying') control.move(this.#options.upload, 'stall', why)
      if (waitMs > 0) await wait(this.#options.platform.clock, waitMs, signal)
      return undefined
    }
  }

  async #open(signal: AbortSignal): Promise<OpenSource> {
    if (this.#source) return this.#source
    const { source, platform, algorithm } = this.#options
    await platform.digests.load(algorithm)
    const open = await openGuarded(source, signal)
    const read = (into: Uint8Array, offset: number) => open.read(into, offset)
    this.#source = open
    this.#digest = new FollowingDigest({ digests: platform.digests, algorithm, read })
    this.#stand(0, 0)
    return open
  }

  async #send(link: OnlineLink, source: OpenSource, signal: AbortSignal): Promise<SentFile> {
    const { upload, platform, pace, algorithm } = this.#options
    const digest = this.#digest
    if (!digest) throw new OspError('internal', 'an open source has no digest')
    if (upload.phase === 'waiting') control.move(upload, 'turn')
    const sending = new Sending({
      link,
      clock: platform.clock,
      pace,
      source,
      name: upload.name,
      algorithm,
      digest,
      fresh: this.#fresh,
      progress: upload.progress.sent,
      signal,
      standing: (progress, durable = upload.progress.durable) => this.#stand(progress, durable),
      sent: (bytes) => control.count(upload, bytes),
      verifying: (yes) => control.move(upload, yes ? 'verify' : 'again'),
    })
    this.#fresh = false
    const storedName = await sending.run()
    return { name: upload.name, storedName, size: source.size, algorithm, digest: hex(digest.now()) }
  }

  #stand(progress: number, durable: number): void {
    const size = this.#source?.size ?? 0
    const sent = Math.min(progress, size)
    control.stand(this.#options.upload, sent, Math.min(durable, sent), size)
    if (progress <= this.#best) return
    this.#best = progress
    this.#refusals = 0
    this.#refusedSince = undefined
  }

  /** What to do about `why`: returns how long to wait before the next try, or throws if there is none. */
  async #recover(why: OspError, link: OnlineLink | undefined): Promise<number> {
    if (why.code === 'digest-mismatch') {
      if (++this.#digestTries > clientLimits.digestTries) throw why
      this.#fresh = true
      this.#best = 0
      return 0
    }
    if (why.code === 'source-changed') {
      if (++this.#sourceTries > clientLimits.sourceTries) throw why
      await this.#source?.[Symbol.asyncDispose]()
      this.#source = undefined
      this.#best = 0
      return 0
    }
    if (link?.peer.ended) return 0
    if (why.again === 'no' || !link) throw why
    return this.#backoffMs(why)
  }

  #backoffMs(why: OspError): number {
    const { platform, retryForMs } = this.#options
    const now = platform.clock.now()
    this.#refusedSince ??= now
    const leftMs = this.#refusedSince + retryForMs - now
    if (leftMs <= 0) throw why
    const { reconnectFirstMs, reconnectMostMs } = clientLimits
    const most = why.again === 'recover' && this.#refusals === 0 ? 0 : reconnectFirstMs * 2 ** this.#refusals
    this.#refusals++
    const waitMs = why.retryAfterMs + platform.random.fraction('refused upload') * Math.min(reconnectMostMs, most)
    return Math.min(leftMs, waitMs)
  }
}
