import type { Pacer } from '../../core/pacer.ts'
import { type Span, Window } from '../../core/window.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { isStoredFileName } from '../../names.ts'
import type { Clock, DigestName } from '../../ports/platform.ts'
import type { OpenSource } from '../../ports/source.ts'
import type { DigestCheckpoint, IncrementalDigest } from '../../runtime/incrementalDigest.ts'
import { onAbort, wait } from '../../runtime/wait.ts'
import type { Message } from '../../wire/message.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/protocolViolation.ts'
import type { UploadLink } from './buffers.ts'
import type { SentFile } from './upload.ts'

export interface UploadAttemptOptions {
  readonly link: UploadLink
  readonly clock: Clock
  readonly pace: Pacer
  readonly source: OpenSource
  readonly name: string
  readonly algorithm: DigestName
  /** The digest of the source. It continues from what earlier attempts have digested. */
  readonly digest: IncrementalDigest
  /** Begin at zero, whatever the server has. */
  readonly fresh: boolean
  /** The progress that the server has last reported. */
  readonly progress: number
  /** Ends the attempt. The server keeps its bytes. */
  readonly signal: AbortSignal
  /** Called when the server has granted an instance. */
  readonly granted: () => void
  /** Called with the leading bytes that the server has, and how many of them are durable. */
  readonly standing: (progress: number, durable?: number) => void
  /** Called with the number of content bytes sent on this link that the server has acknowledged. */
  readonly transferred: (bytes: number) => void
  /** Called with true when the server has acknowledged every byte and verifies the file; with false if a part must be sent again. */
  readonly verifying: (yes: boolean) => void
}

/** The place of a file on the server. */
export type StoredAs = Pick<SentFile, 'storedName' | 'replaced'>

/** The server's answer to START or CONTINUE. */
interface Granted {
  readonly instance: number
  /** The longest content of a chunk that fits the server's frames. */
  readonly chunkBytes: number
  readonly windowBytes: number
  readonly progress: number
  /** The server's last checkpoint, to compare the source with. */
  readonly checkpoint: DigestCheckpoint | undefined
}

/** Bytes of a POST_FILE_REQ's payload before the content. */
const offsetBytes = 8

/** Sends one file over one link, from START or CONTINUE to the reply to FILE_MD5_REQ. */
export class UploadAttempt {
  readonly #options: UploadAttemptOptions
  /** Aborts when the attempt fails. */
  readonly #failing = new AbortController()
  #instance = 0
  #chunkBytes = 0
  #window: Window
  #failure: OspError | undefined
  /** Whether the attempt still has its instance, as far as the server has reported. */
  #hasInstance = true
  #asking = false
  /** Whether the socket has accepted the digest: the server will verify the file. */
  #hasAsked = false
  #isVerifying = false
  /** Unanswered requests to the instance, with the content bytes of each. */
  readonly #unanswered = new Map<number, number>()
  #stored: StoredAs | undefined
  #wake: () => void = () => {}

  constructor(options: UploadAttemptOptions) {
    this.#options = options
    this.#window = new Window(options.source.size, 0, 0)
  }

  /** Resolves with the place of the file on the server; rejects with the error that ended the upload. */
  async run(): Promise<StoredAs> {
    await this.#open()
    const { link, signal } = this.#options
    // If no request is unanswered, nothing else reports the end of the link.
    using _lost = onAbort(link.closed, (error) => this.#fail(OspError.from(error)))
    using _aborted = onAbort(signal, () => {
      // The server verifies a file to the end once it has begun, so the attempt waits for the result.
      if (!this.#hasAsked) this.#fail(new OspError('closed'))
    })
    try {
      return await this.#send()
    } catch (error) {
      const failure = this.#failure ?? error
      this.#abandon()
      await this.#release()
      throw failure
    } finally {
      this.#abandon()
    }
  }

  async #open(): Promise<void> {
    const { digest, source, standing } = this.#options
    const { instance, chunkBytes, windowBytes, progress, checkpoint } = await requestInstance(this.#options)
    this.#options.granted()
    this.#instance = instance
    this.#chunkBytes = chunkBytes
    this.#window = new Window(source.size, progress, windowBytes)
    if (checkpoint) digest.expect(checkpoint)
    standing(progress, checkpoint?.offset ?? 0)
    // Also if there is nothing to read: the digest may be at the checkpoint and disagree, or a read that an earlier attempt has
    // begun may not have ended.
    this.#catchUp(progress)
  }

  async #send(): Promise<StoredAs> {
    while (!this.#stored) {
      if (this.#failure) throw this.#failure
      const changed = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      const span = this.#nextSpan()
      if (span) await this.#sendChunk(span)
      else if (this.#complete) await this.#askToVerify()
      else await changed
    }
    return this.#stored
  }

  #nextSpan(): Span | undefined {
    if (this.#unanswered.size >= clientLimits.unansweredChunks) return undefined
    const { pace, clock } = this.#options
    return this.#window.take(pace.chunkBytes(this.#chunkBytes, clock.now()))
  }

  /** Whether everything is sent and digested, and the server has not been asked to verify it. */
  get #complete(): boolean {
    const { size } = this.#options.source
    return !this.#asking && this.#window.taken === size && this.#options.digest.position === size
  }

  async #sendChunk(span: Span): Promise<void> {
    const { link, source, pace, clock, digest, name } = this.#options
    const { round } = this.#window
    const delayMs = pace.delayMs(span.length, clock.now())
    if (delayMs > 0) await wait(clock, delayMs, this.#failing.signal)
    const buffer = await link.buffers.take()
    const bytes = buffer.subarray(0, span.length)
    const giveBack = () => link.buffers.put(buffer)
    try {
      const read = await source.read(bytes, span.offset)
      if (read < span.length) throw changed(name, 'became shorter')
    } catch (error) {
      giveBack()
      throw error
    }
    digest.follow(span.offset, [bytes])
    if (digest.position < span.offset) this.#catchUp(span.offset + span.length)
    if (this.#failure || round !== this.#window.round) return giveBack()
    const chunk = { event: 'PostFileReq', progress: span.offset, content: [bytes] } as const
    const { seq, reply } = link.peer.ask(chunk, this.#instance, 'chunks', giveBack)
    this.#asked(seq, span.length)
    pace.sent(span.length, clock.now())
    reply.then(
      (ack) => this.#acknowledged(seq, span, ack),
      (error: OspError) => {
        pace.refused(span.length, clock.now())
        this.#refused(seq, error)
      },
    )
  }

  #acknowledged(seq: number, span: Span, ack: Message<'PostFileAck'>): void {
    const { pace, clock, standing, transferred } = this.#options
    pace.acknowledged(span.length, clock.now())
    if (!this.#unanswered.delete(seq)) return
    transferred(span.length)
    const { taken } = this.#window
    this.#guarded(() => this.#window.reply(seq, span, ack.progress))
    // The server has bytes that this process has not sent.
    if (this.#window.taken > taken) this.#catchUp(this.#window.taken)
    standing(this.#window.acknowledged, ack.durable)
    this.#reportVerifying()
  }

  /** Sends the digest after the last chunk, without waiting for its reply. If a chunk is missing, the answer names the offset. */
  async #askToVerify(): Promise<void> {
    const { link, source, digest, name } = this.#options
    if (!(await source.unchanged())) throw changed(name, 'was written to')
    if (!this.#complete || this.#failure) return
    this.#asking = true
    const question = { event: 'FileMd5Req', digest: digest.now() } as const
    const { seq, reply } = link.peer.ask(question, this.#instance, 'chunks', () => {
      this.#hasAsked = this.#asking
    })
    this.#asked(seq)
    this.#reportVerifying()
    reply.then(
      (ack) => {
        this.#hasInstance = false
        this.#unanswered.delete(seq)
        // The server has every byte, even if replies to chunks were lost or are late.
        for (const bytes of this.#unanswered.values()) this.#options.transferred(bytes)
        this.#reportVerifying(true)
        this.#guarded(() => {
          this.#stored = storedAs(ack)
        })
      },
      (error: OspError) => this.#notVerified(seq, error),
    )
  }

  #notVerified(seq: number, error: OspError): void {
    const { code, progress } = error
    if (code !== 'wrong-offset' || progress === undefined) this.#refused(seq, error)
    else if (this.#unanswered.delete(seq)) {
      this.#asking = false
      this.#hasAsked = false
      this.#reportVerifying()
      if (this.#options.signal.aborted) this.#fail(new OspError('closed'))
      this.#guarded(() => this.#window.goBack(progress))
      this.#options.standing(this.#window.acknowledged)
    }
  }

  /** Reports a change. The server verifies a file only when it has all of it: a digest that waits after chunks does not start that. */
  #reportVerifying(verifying = this.#asking && this.#window.acknowledged === this.#options.source.size): void {
    if (verifying === this.#isVerifying) return
    this.#isVerifying = verifying
    this.#options.verifying(verifying)
  }

  /** Applies an answer. One that does not keep to the protocol ends the attempt. */
  #guarded(apply: () => void): void {
    try {
      apply()
      this.#wake()
    } catch (error) {
      this.#fail(OspError.from(error))
    }
  }

  /** Reads for the digest what this process has not sent itself, in parallel with the upload. */
  #catchUp(end: number): void {
    const { digest, name } = this.#options
    digest.catchUp(end).then(
      (agreed) => {
        if (agreed === undefined) return this.#wake()
        digest.rewind(0)
        this.#fail(new OspError('digest-mismatch', 'the server has other bytes of this file'))
      },
      (error: unknown) =>
        this.#fail(error instanceof RangeError ? changed(name, 'became shorter') : OspError.from(error)),
    )
  }

  #asked(seq: number, bytes = 0): void {
    this.#window.sent(seq)
    this.#unanswered.set(seq, bytes)
  }

  /** Stops repeating its requests: after the attempt they could reach another upload's instance. */
  #abandon(): void {
    const left = [...this.#unanswered.keys()]
    this.#unanswered.clear()
    for (const seq of left) this.#options.link.peer.abandon(seq)
  }

  /** The server has ended the upload, and made the instance idle. */
  #refused(seq: number, error: OspError): void {
    if (!this.#unanswered.delete(seq)) return
    this.#hasInstance = false
    this.#fail(error)
  }

  #fail(error: OspError): void {
    this.#failure ??= error
    this.#failing.abort()
    this.#wake()
  }

  /** Frees the instance when the client ends the attempt. The server keeps its bytes. */
  async #release(): Promise<void> {
    const { link, standing } = this.#options
    if (!this.#hasInstance || link.peer.ended) return
    const pause = link.peer.ask({ event: 'PauseFileReq' }, this.#instance)
    await pause.reply.then(
      ({ progress, durable }) => standing(progress, durable),
      () => {},
    )
  }
}

/** Asks for an instance. Rejects with the server's refusal, or with `malformed` if the values that it grants cannot be used. */
async function requestInstance(options: UploadAttemptOptions): Promise<Granted> {
  const { link, source, name, algorithm, fresh, progress } = options
  const { size, modifiedAt } = source
  const upload = { fileName: name, size, modifiedAt, digest: digestNumbers[algorithm] }
  const ack = fresh
    ? await link.peer.ask({ event: 'StartPostFileReq', ...upload }).reply
    : await link.peer.ask({ event: 'ContinuePostFileReq', ...upload, progress }).reply
  if (ack.instance === 0) throw protocolViolation('it names no instance')
  if (ack.chunk === 0 || ack.window === 0) throw protocolViolation('it grants chunks of no bytes')
  const known = ack.event === 'ContinuePostFileAck' && ack.checkpoint > 0
  return {
    instance: ack.instance,
    chunkBytes: Math.min(ack.chunk, link.welcome.maxFrame - offsetBytes),
    windowBytes: ack.window,
    progress: ack.progress,
    checkpoint: known ? { offset: ack.checkpoint, digest: ack.checkpointDigest } : undefined,
  }
}

/** Returns the place of a file. Throws OspError `malformed` if its name is not safe to show to people and programs. */
function storedAs({ storedName, replaced = 0 }: Message<'FileMd5Ack'>): StoredAs {
  if (!isStoredFileName(storedName)) throw protocolViolation('the name of the stored file is not allowed')
  return { storedName, replaced: replaced !== 0 }
}

const changed = (name: string, how: string) =>
  new OspError('source-changed', `${name} ${how} while it was being sent; send it again when nothing writes to it`)
