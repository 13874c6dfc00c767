import { type Span, Window } from '../../core/window.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { wait } from '../../runtime/wait.ts'
import type { Message } from '../../wire/message.ts'
import { type StoredAs, storedAs } from '../connection/answers.ts'
import { requestInstance } from './requestInstance.ts'
import type { UploadAttemptOptions } from './uploadAttemptOptions.ts'

/** Sends one file over one link, from START or CONTINUE to the reply to FILE_MD5_REQ. */
export class UploadAttempt {
  readonly #options: UploadAttemptOptions
  /** Aborts when there is a failure. */
  readonly #failing = new AbortController()
  #instance = 0
  #chunkBytes = 0
  #window: Window
  #failure: OspError | undefined
  /** Whether the instance is still this sending's, as far as the server has said. */
  #held = true
  #asking = false
  /** The socket has accepted the digest: the server will verify the file. */
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
    // With nothing unanswered nothing else would tell.
    using _ = link.loss.hear((why) => this.#fail(why))
    // What the server is verifying is awaited: once begun that runs to its end.
    const aborted = () => {
      if (!this.#hasAsked) this.#fail(new OspError('closed'))
    }
    signal.addEventListener('abort', aborted, { once: true })
    if (signal.aborted) aborted()
    try {
      return await this.#send()
    } catch (error) {
      const why = this.#failure ?? error
      this.#abandon()
      await this.#release()
      throw why
    } finally {
      this.#abandon()
      signal.removeEventListener('abort', aborted)
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
    // Also where nothing is to be read: the digest may stand at the checkpoint, and disagree; or a reading that an
    // earlier sending has begun may still be under way.
    this.#catchUp(progress)
  }

  async #send(): Promise<StoredAs> {
    while (!this.#stored) {
      if (this.#failure) throw this.#failure
      const changed = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      const span = this.#take()
      if (span) await this.#sendChunk(span)
      else if (this.#complete) await this.#askToVerify()
      else await changed
    }
    return this.#stored
  }

  #take(): Span | undefined {
    if (this.#unanswered.size >= clientLimits.unansweredChunks) return undefined
    const { pace, clock } = this.#options
    return this.#window.take(pace.chunkBytes(this.#chunkBytes, clock.now()))
  }

  /** Everything is sent and digested, and the server was not asked to verify it. */
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
      (why: OspError) => {
        pace.refused(span.length, clock.now())
        this.#refused(seq, why)
      },
    )
  }

  #acknowledged(seq: number, span: Span, ack: Message<'PostFileAck'>): void {
    const { pace, clock, standing } = this.#options
    pace.acknowledged(span.length, clock.now())
    if (!this.#unanswered.delete(seq)) return
    this.#options.transferred(span.length)
    const { taken } = this.#window
    this.#judge(() => this.#window.reply(seq, span, ack.progress))
    // Bytes that this process has not sent.
    if (this.#window.taken > taken) this.#catchUp(this.#window.taken)
    standing(this.#window.acknowledged, ack.durable)
    this.#tellVerifying()
  }

  /** Asks behind the last chunk, without waiting for its reply: where a chunk did not count, so the answer says. */
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
    this.#tellVerifying()
    reply.then(
      (ack) => {
        this.#held = false
        this.#unanswered.delete(seq)
        // The server has every byte, even if replies to chunks were lost or are late.
        for (const bytes of this.#unanswered.values()) this.#options.transferred(bytes)
        this.#tellVerifying(true)
        this.#judge(() => {
          this.#stored = storedAs(ack)
        })
      },
      (why: OspError) => this.#notVerified(seq, why),
    )
  }

  #notVerified(seq: number, why: OspError): void {
    const { code, progress } = why
    if (code !== 'wrong-offset' || progress === undefined) this.#refused(seq, why)
    else if (this.#unanswered.delete(seq)) {
      this.#asking = false
      this.#hasAsked = false
      this.#tellVerifying()
      if (this.#options.signal.aborted) this.#fail(new OspError('closed'))
      this.#judge(() => this.#window.goBack(progress))
      this.#options.standing(this.#window.acknowledged)
    }
  }

  /**
   * The server verifies the file only when it has all of it. A digest that is queued after chunks does not start that.
   */
  #tellVerifying(verifying = this.#asking && this.#window.acknowledged === this.#options.source.size): void {
    if (verifying === this.#isVerifying) return
    this.#isVerifying = verifying
    this.#options.verifying(verifying)
  }

  /** An answer that does not keep to the protocol ends the sending. */
  #judge(take: () => void): void {
    try {
      take()
      this.#wake()
    } catch (error) {
      this.#fail(OspError.from(error))
    }
  }

  /** Reads for the digest what this process has not sent itself, beside the sending. */
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

  /** What it has asked is not repeated once it has ended: it might reach another upload's instance. */
  #abandon(): void {
    const left = [...this.#unanswered.keys()]
    this.#unanswered.clear()
    for (const seq of left) this.#options.link.peer.abandon(seq)
  }

  /** The server has ended it, and made the instance idle. */
  #refused(seq: number, why: OspError): void {
    if (!this.#unanswered.delete(seq)) return
    this.#held = false
    this.#fail(why)
  }

  #fail(why: OspError): void {
    this.#failure ??= why
    this.#failing.abort()
    this.#wake()
  }

  /** The sending ends on this side: frees the instance; the server keeps what it has. */
  async #release(): Promise<void> {
    const { link, standing } = this.#options
    if (!this.#held || link.peer.ended) return
    const pause = link.peer.ask({ event: 'PauseFileReq' }, this.#instance)
    await pause.reply.then(
      ({ progress, durable }) => standing(progress, durable),
      () => {},
    )
  }
}

const changed = (name: string, how: string) =>
  new OspError('source-changed', `${name} ${how} while it was being sent; send it again when nothing writes to it`)
