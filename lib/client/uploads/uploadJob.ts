import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { DigestStore, StoredTask } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { DigestName, Platform } from '../../ports/platform.ts'
import type { FileSource, OpenSource } from '../../ports/source.ts'
import type { FileNotice, SentFile } from '../../ports/storage.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import { digestOfParts, IncrementalDigest, same } from '../../runtime/incrementalDigest.ts'
import { otherMessageId } from '../../runtime/messageId.ts'
import type { MaybePromise } from '../../runtime/settled.ts'
import { onAbort, wait, whenAborted } from '../../runtime/wait.ts'
import { cancelOutcomes, digestNumbers, features } from '../../wire/protocol.ts'
import { type ClientSession, type OnlineLink, refusalBackoff } from '../connection/session.ts'
import { type GuardedSource, openGuarded } from './guardedSource.ts'
import { Interruption } from './interruption.ts'
import type { ClientUpload } from './upload.ts'
import { UploadAttempt } from './uploadAttempt.ts'
import { maxWholeFileBytes, PutBatch, readOpened, readSource, type WholeFile } from './wholeFile.ts'

/** The slot of an upload that has or wants an instance. */
export const instanceSlot = -1

/** How a source is sent. */
export interface UploadSettings {
  /** The algorithm of its digest. */
  readonly algorithm: DigestName
  /** Missing if there is none. */
  readonly metadata?: Metadata
  /** The message about the file. Missing if there is none. */
  readonly notice?: FileNotice
}

interface JobContent extends UploadSettings {
  readonly upload: ClientUpload
  readonly source: FileSource
}

/** The options that all uploads of a client share. */
export interface UploadJobOptions {
  readonly platform: Platform
  readonly session: ClientSession
  readonly pace: Pacer
  /** Time for retries after refusals that are not final. */
  readonly retryForMs: number
  readonly log: Log
  readonly digests?: DigestStore | undefined
  /** The algorithms whose digests are loaded. */
  readonly loaded: Set<DigestName>
  /**
   * Called before each attempt, with the size of a file that needs no instance because it is sent in one request. If it returns false,
   * the upload waits for a free slot.
   */
  readonly mayMove: (job: UploadJob, size: number | undefined) => boolean
  /** As `PutOptions.together`. */
  readonly together: (work: () => void) => void
  /** Called when sending has ended, permanently or until it continues. */
  readonly ended: (job: UploadJob) => void
}

interface OpenedSource {
  readonly source: GuardedSource
  /** The digest of an upload in chunks; set at its first attempt. */
  digest?: IncrementalDigest
}

/** Sends one upload in several attempts, or cancels it. Retries a bounded number of times, or for a bounded time. */
export class UploadJob {
  readonly upload: ClientUpload
  /** Whether the list of tasks has it: it may begin. */
  accepted = false
  /** Whether its end is recorded. */
  isOver = false
  /** The time of the next try, by the clock, while it waits. */
  retryAtMs: number | undefined
  /** The slot that it has: `instanceSlot`, or the bytes of a small file. */
  slot: number | undefined
  readonly #options: UploadJobOptions
  readonly #content: JobContent
  #interruption: Interruption | undefined
  /** Resolves when sending has ended, if something waits for it. */
  #ended: Deferred<void> | undefined
  /** Aborts, with the error of the upload, when all work on it ends. */
  #closing: AbortController | undefined
  #cancelling: Promise<void> | undefined
  /** The link of the current or the latest attempt, if it had one. */
  #link: OnlineLink | undefined
  #opened: OpenedSource | undefined
  #version: Pick<OpenSource, 'size' | 'modifiedAt'> | undefined
  #fresh = false
  #hasLooked = false
  #digestTries = 0
  #sourceTries = 0
  /** Counts refusals without a byte of progress between them. Created for the first one. */
  #backoff: Backoff | undefined
  #best = 0

  constructor(options: UploadJobOptions, content: JobContent) {
    this.upload = content.upload
    this.#options = options
    this.#content = content
  }

  /** The task to store, if its source can be opened again. */
  get newTask(): StoredTask | undefined {
    const { upload, algorithm, metadata, notice } = this.#content
    const { id, ref, name } = upload
    if (ref === undefined) return undefined
    const task: StoredTask = { id, ref, name, algorithm, state: 'open', size: 0, durable: 0 }
    return metadata || notice ? { ...task, ...(metadata && { metadata }), ...(notice && { notice }) } : task
  }

  get active(): boolean {
    return this.#interruption !== undefined
  }

  /** Sends the file. A small file that was read at once joins `batch`, and needs no promise unless it is refused. */
  begin(batch: PutBatch | undefined): void {
    const interruption = new Interruption()
    this.#interruption = interruption
    this.#link = this.#options.session.link
    const link = this.#link
    const whole = link && this.#readWhole(link)
    if (link && batch && whole && !(whole instanceof Promise)) this.#sendNow(link, batch, whole, interruption)
    else this.#run(interruption, this.#attempt(interruption, whole))
  }

  #sendNow(link: OnlineLink, batch: PutBatch, whole: WholeFile, interruption: Interruption): void {
    const end = {
      resolve: (file: SentFile) => this.#end(interruption, file),
      reject: (error: unknown) => this.#run(interruption, Promise.reject(error)),
    }
    try {
      this.#sendWhole(link, batch, whole, interruption, end)
    } catch (error) {
      end.reject(error)
    }
  }

  /** Resolves when its instance is free. */
  async pause(): Promise<void> {
    if (this.upload.over || this.upload.phase === 'cancelling') return
    if (this.upload.phase !== 'paused') this.upload.move('pause')
    await this.#interrupt()
  }

  /** Resolves when the server has cancelled it. Later calls return the same promise. */
  cancel(): Promise<void> {
    this.#cancelling ??= this.#cancel()
    return this.#cancelling
  }

  /** Ends all work on it. An upload that has not ended fails with this error. */
  async close(reason: OspError): Promise<void> {
    if (!this.upload.over) {
      this.#closing ??= new AbortController()
      this.#closing.abort(reason)
    }
    await this.#interrupt()
    await this.#cancelling?.catch(() => {})
    if (!this.upload.over) this.upload.move('close', reason)
  }

  async #interrupt(): Promise<void> {
    if (!this.#interruption) return
    this.#ended ??= deferred()
    const { promise } = this.#ended
    this.#interruption.interrupt()
    await promise
  }

  /** Continues after an attempt. */
  #run(interruption: Interruption, attempt: Promise<SentFile | undefined>): void {
    this.#stored(interruption, attempt).then(
      (file) => this.#end(interruption, file),
      (error: unknown) => this.#end(interruption, undefined, OspError.from(error)),
    )
  }

  #end(interruption: Interruption, file: SentFile | undefined, error?: OspError): void {
    let failure = error
    try {
      if (file) this.upload.stored(file)
    } catch (cause) {
      failure = OspError.from(cause)
    }
    if (failure && !interruption.isInterrupted && !this.upload.over) this.upload.move('fail', failure)
    this.#interruption = undefined
    this.#ended?.resolve()
    this.#ended = undefined
    this.#options.ended(this)
  }

  /**
   * Resolves when the file is stored, which can happen after the interruption, or with `undefined` if no slot is free. Rejects with
   * a final error or after the interruption.
   */
  async #stored(interruption: Interruption, first: Promise<SentFile | undefined>): Promise<SentFile | undefined> {
    try {
      for (let attempt = first; ; attempt = this.#attempt(interruption)) {
        const end = await attempt.catch(OspError.from)
        if (!(end instanceof OspError)) return end
        if (interruption.isInterrupted) throw end
        await this.#waitToRetry(end, interruption)
        this.retryAtMs = undefined
      }
    } finally {
      this.retryAtMs = undefined
      if (this.#opened) await this.#close()
    }
  }

  /** `read`: the result of `#readWhole` for the link, if it was called. */
  async #attempt(
    interruption: Interruption,
    read?: MaybePromise<WholeFile | undefined>,
  ): Promise<SentFile | undefined> {
    const { session } = this.#options
    this.#link = session.link
    const link = this.#link
    const whole = link && (await (read ?? this.#readWhole(link)))
    if (link && whole) return await this.#sentWhole(link, whole, interruption)
    const opened = await this.#open(interruption.signal)
    this.#link = await session.online(interruption.signal)
    return await this.#send(this.#link, opened, interruption)
  }

  async #waitToRetry(failure: OspError, interruption: Interruption): Promise<void> {
    const { clock } = this.#options.platform
    const waitMs = await this.#recover(failure, this.#link)
    const { phase } = this.upload
    if (phase === 'sending' || phase === 'verifying') this.upload.move('stall', failure)
    this.retryAtMs = clock.now() + waitMs
    if (waitMs > 0) await wait(clock, waitMs, interruption.signal)
  }

  /**
   * Reads a file with `FileSource.readWhole`, without a call to `open`, if it can be sent in one request now. Returns `undefined`
   * otherwise.
   */
  #readWhole(link: OnlineLink): MaybePromise<WholeFile | undefined> {
    const { source, algorithm } = this.#content
    const { loaded } = this.#options
    if (this.#opened || !source.readWhole) return undefined
    const most = this.#mostWhole(link)
    if (most < 0) return undefined
    return loaded.has(algorithm)
      ? readSource(source, link, most)
      : this.#load().then(() => readSource(source, link, most))
  }

  async #load(): Promise<void> {
    const { algorithm } = this.#content
    const { platform, loaded } = this.#options
    await platform.digests.load(algorithm)
    loaded.add(algorithm)
  }

  /** Returns the size of the largest file that can be sent in one request now, or -1. Such a request has no metadata and no notice. */
  #mostWhole(link: OnlineLink): number {
    const { platform, pace } = this.#options
    return this.#content.metadata || this.#content.notice ? -1 : maxWholeFileBytes(link, pace, platform.clock.now())
  }

  async #open(signal: AbortSignal): Promise<OpenedSource> {
    if (this.#opened) return this.#opened
    await this.#load()
    const source = await openGuarded(this.#content.source, signal)
    this.#opened = { source }
    const { size, modifiedAt } = source
    const isSame = this.#version?.size === size && this.#version.modifiedAt === modifiedAt
    this.#version = { size, modifiedAt }
    if (!isSame) this.#progressed(0, 0)
    return this.#opened
  }

  /** Closes the source. A failure is only logged: it does not concern the bytes that were read. */
  async #close(): Promise<void> {
    const { log } = this.#options
    const opened = this.#opened
    this.#opened = undefined
    try {
      await opened?.source[Symbol.asyncDispose]()
    } catch (error) {
      const { message: text } = OspError.from(error)
      log({ level: 'warn', event: 'source-not-closed', name: this.upload.name, text })
    }
  }

  #sentWhole(link: OnlineLink, file: WholeFile, interruption: Interruption): Promise<SentFile> {
    const batch = new PutBatch(link, this.#options)
    return new Promise((resolve, reject) => {
      this.#sendWhole(link, batch, file, interruption, { resolve, reject })
      batch.flush()
    })
  }

  /** Sends a file that was read, and calls `end`. */
  #sendWhole(
    link: OnlineLink,
    batch: PutBatch,
    file: WholeFile,
    interruption: Interruption,
    end: Pick<Deferred<SentFile>, 'resolve' | 'reject'>,
  ): void {
    const { upload } = this
    const { platform, pace, mayMove } = this.#options
    const { clock, digests } = platform
    const { algorithm } = this.#content
    const size = file.content.length
    if (interruption.isInterrupted) {
      file.giveBack?.()
      throw new OspError('closed')
    }
    mayMove(this, size)
    if (upload.phase === 'waiting') upload.move('begin')
    const { content, modifiedAt, giveBack } = file
    const fileDigest = digestOfParts(digests, algorithm, [content])
    const prepared = { content, modifiedAt, giveBack, upload, algorithm, fileDigest, interruption, end }
    // After the file was sent once, only the reply to it can tell whether it has replaced another one.
    this.#hasLooked ||= pace.sendingMs(size, clock.now()) < clientLimits.askedMs
    if (this.#hasLooked) batch.add(prepared)
    else {
      this.#known(link, interruption, size, fileDigest)
        .then((known) => {
          if (!known) {
            batch.add(prepared)
            batch.flush()
            return
          }
          file.giveBack?.()
          end.resolve(known)
        })
        .catch(end.reject)
    }
  }

  async #send(link: OnlineLink, opened: OpenedSource, interruption: Interruption): Promise<SentFile | undefined> {
    const { upload } = this
    const { platform, pace } = this.#options
    const { algorithm, metadata, notice } = this.#content
    const { clock, digests } = platform
    const { source } = opened
    const { size } = source
    if (size <= this.#mostWhole(link)) {
      return await this.#sentWhole(link, await readOpened(upload.name, source, link), interruption)
    }
    if (!this.#options.mayMove(this, undefined)) return undefined
    this.#hasLooked = true
    if (upload.phase === 'waiting') upload.move('begin')
    const read = (into: Uint8Array, offset: number) => source.read(into, offset)
    opened.digest ??= new IncrementalDigest({ digests, algorithm, read })
    const { digest } = opened
    const attempt = new UploadAttempt({
      link,
      clock,
      pace,
      upload,
      source,
      algorithm,
      metadata,
      notice,
      fileDigest: digest.position === size ? digest.now() : await this.#rememberedDigest(source),
      signal: interruption.signal,
      digest,
      fresh: this.#fresh,
      granted: () => {
        this.#fresh = false
      },
      progressed: (progress, durable = upload.progress.durable) => this.#progressed(progress, durable),
    })
    const { notified, ...stored } = await attempt.run()
    await this.#rememberDigest(source, attempt.digest)
    const file = { name: upload.name, ...stored, size, algorithm, digest: hex(attempt.digest) }
    const { notice: sent } = attempt
    if (!sent) return file
    const id = hex(otherMessageId(bytesOfHex(sent.id)))
    return { ...file, notice: sent, ...(notified && { notified: { id, recipients: notified } }) }
  }

  /** Resolves with the digest of a source that was uploaded before. */
  async #rememberedDigest({ identity }: OpenSource): Promise<Uint8Array | undefined> {
    const { digests, log } = this.#options
    if (!digests || identity === undefined) return undefined
    return await digests.find(identity, this.#content.algorithm).catch((error: unknown) => {
      log({ level: 'warn', event: 'digests-failed', text: OspError.from(error).message })
      return undefined
    })
  }

  /** Remembers the digest of a source. If this fails, the next upload reads the source again. */
  async #rememberDigest({ identity }: OpenSource, digest: Uint8Array): Promise<void> {
    const { digests, log } = this.#options
    if (!digests || identity === undefined) return
    await digests
      .put(identity, this.#content.algorithm, digest, clientLimits.knownDigests)
      .catch((error: unknown) => log({ level: 'warn', event: 'digests-failed', text: OspError.from(error).message }))
  }

  /**
   * Asks once whether the server has this content under the name of the upload, with any modification time. Resolves with the
   * stored file if it has. For a file that is sent in chunks, the reply to CONTINUE answers this question.
   */
  async #known(
    { peer, welcome }: OnlineLink,
    { signal }: Interruption,
    size: number,
    digest: Uint8Array,
  ): Promise<SentFile | undefined> {
    const { upload } = this
    const { algorithm } = this.#content
    if (this.#hasLooked || (welcome.features & features.storedFiles) === 0) return undefined
    this.#hasLooked = true
    const { seq, reply } = peer.ask({ event: 'StatFileReq', fileName: upload.name, flags: 0 })
    using _ = onAbort(signal, () => peer.abandon(seq))
    // If the reply is a refusal, such as `no-such-file`, the file is sent.
    const stored = await reply.catch(() => undefined)
    if (!stored || stored.size !== size || stored.digest !== digestNumbers[algorithm]) return undefined
    if (!same(digest, stored.fileDigest)) return undefined
    return { name: upload.name, storedName: upload.name, replaced: false, size, algorithm, digest: hex(digest) }
  }

  #progressed(progress: number, durable: number): void {
    const size = this.#opened?.source.size ?? 0
    const acknowledged = Math.min(progress, size)
    this.upload.setProgress(acknowledged, Math.min(durable, acknowledged), size)
    if (progress <= this.#best) return
    this.#best = progress
    this.#backoff?.reset()
  }

  /** Prepares the next try and returns the milliseconds until it. Throws `error` if it is final. */
  async #recover(error: OspError, link: OnlineLink | undefined): Promise<number> {
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
    const { platform, retryForMs } = this.#options
    this.#backoff ??= refusalBackoff(platform, retryForMs)
    return this.#backoff.next(error)
  }

  async #cancel(): Promise<void> {
    if (this.upload.over) return
    this.upload.move('cancel')
    await this.#interrupt()
    this.#closing ??= new AbortController()
    const { signal } = this.#closing
    try {
      await this.#askToCancel(signal)
    } catch (error) {
      const failure = OspError.from(signal.aborted ? signal.reason : error)
      this.upload.move(signal.aborted ? 'close' : 'fail', failure)
      throw failure
    }
  }

  /** Asks until the server has answered, on this link or the next one. Retries after refusals that are not final. */
  async #askToCancel(signal: AbortSignal): Promise<void> {
    const { session, platform, retryForMs } = this.#options
    const backoff = refusalBackoff(platform, retryForMs)
    session.start()
    while (this.upload.phase === 'cancelling') {
      const { peer, closed } = await session.online(signal)
      const answer = await peer.ask({ event: 'CancelFileReq', fileName: this.upload.name }).reply.catch(OspError.from)
      if (!(answer instanceof OspError)) this.upload.move('cancelled', cancelledWith(answer.outcome))
      else if (peer.ended) await whenAborted(closed)
      else if (answer.retry === 'never') throw answer
      else await wait(platform.clock, backoff.next(answer), signal)
    }
  }
}

function cancelledWith(outcome: number): OspError {
  if (outcome !== cancelOutcomes.published) return new OspError('cancelled')
  return new OspError('cancelled', 'the upload was cancelled; a file of this name was stored before and remains')
}
