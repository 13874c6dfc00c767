import { textsOf } from '../../core/metadata.ts'
import type { Pacer } from '../../core/pacer.ts'
import { type Span, Window } from '../../core/window.ts'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import { isStoredFileName } from '../../names.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { Clock, DigestName } from '../../ports/platform.ts'
import type { OpenSource } from '../../ports/source.ts'
import type { FileNotice, SentFile } from '../../ports/storage.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import type { IncrementalDigest } from '../../runtime/incrementalDigest.ts'
import { versionMessageId } from '../../runtime/messageId.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { WireMessage } from '../../wire/message.ts'
import { digestNumbers, features } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import { untilAdmitted } from './untilAdmitted.ts'
import type { ClientUpload } from './upload.ts'

export interface UploadAttemptOptions {
  readonly link: OnlineLink
  readonly clock: Clock
  readonly pace: Pacer
  /** The upload, whose phase shows whether the server is verifying the file. */
  readonly upload: ClientUpload
  readonly source: OpenSource
  readonly algorithm: DigestName
  readonly metadata?: Metadata | undefined
  readonly notice?: FileNotice | undefined
  /** The digest of the source. It continues from what earlier attempts have digested. */
  readonly digest: IncrementalDigest
  /** The digest of the whole source, if it is known before the source is read. */
  readonly fileDigest?: Uint8Array | undefined
  /** Begin at zero, whatever the server has. */
  readonly fresh: boolean
  /** Ends the attempt. The server keeps its bytes. */
  readonly signal: AbortSignal
  readonly granted: () => void
  /** Called with the leading bytes that the server has, and how many of them are durable. */
  readonly progressed: (progress: number, durable?: number) => void
}

/** The place of a file on the server. */
export type StoredAs = Pick<SentFile, 'storedName' | 'replaced' | 'unseen'> & {
  /** The users that the server itself notifies of the file, if the owner gets receipts. */
  readonly notified?: readonly string[]
}

/** A part of the file that is read, or is being read. */
interface ReadChunk {
  readonly span: Span
  readonly buffer: Promise<Uint8Array>
  /** The round of the window in which it was taken. */
  readonly round: number
}

/** Bytes of a POST_FILE_REQ's payload before the content. */
const offsetBytes = 8

/** Sends one file over one link, from START or CONTINUE to the reply to FILE_MD5_REQ. */
export class UploadAttempt {
  readonly #options: UploadAttemptOptions
  readonly #failing = new AbortController()
  #instance = 0
  /** The longest content of a chunk that fits the server's frames. */
  #chunkBytes = 0
  #window: Window
  #failure: OspError | undefined
  /** Whether the attempt still has its instance, as far as the server has reported. */
  #hasInstance = true
  #asking = false
  /** Whether the socket has accepted the digest: the server will verify the file. */
  #hasAsked = false
  /** Unanswered requests to the instance, with the content bytes of each. */
  readonly #unanswered = new Map<number, number>()
  #stored: StoredAs | undefined
  /** The id of the message about the version that the server was asked to store. */
  #noticeId: string | undefined
  /** The digest with which the server has recognized a stored file. */
  #storedDigest: Uint8Array | undefined
  #wake: () => void = () => {}

  constructor(options: UploadAttemptOptions) {
    this.#options = options
    this.#window = new Window(options.source.size, 0, 0)
  }

  /** The digest of the stored file. */
  get digest(): Uint8Array {
    return this.#storedDigest ?? this.#options.digest.now()
  }

  /** The message about the stored file, if there is one. */
  get notice(): FileNotice | undefined {
    const { notice } = this.#options
    return notice && this.#noticeId !== undefined ? { ...notice, id: this.#noticeId } : undefined
  }

  /** Resolves with the place of the file on the server; rejects with the error that ended the upload. */
  async run(): Promise<StoredAs> {
    const stored = await this.#open()
    if (stored) return stored
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

  /** Resolves with the stored name of the file if it is already stored. */
  async #open(): Promise<StoredAs | undefined> {
    const { link, digest, source, granted, progressed } = this.#options
    const ack = await requestInstance(this.#options)
    granted()
    if (ack.stored) {
      const { upload, fileDigest } = this.#options
      if (upload.phase === 'sending') upload.move('verify')
      this.#storedDigest = fileDigest
      return storedAs(ack.stored)
    }
    const { instance, chunk, window, progress } = ack
    this.#instance = instance
    this.#chunkBytes = Math.min(chunk, link.welcome.maxFrame - offsetBytes)
    this.#window = new Window(source.size, progress, window)
    const known = ack.event === 'ContinuePostFileAck' && ack.checkpoint > 0 ? ack : undefined
    if (known) digest.expect({ offset: known.checkpoint, digest: known.checkpointDigest })
    progressed(progress, known?.checkpoint ?? 0)
    // Also if there is nothing to read: the digest may be at the checkpoint and disagree, or a read that an earlier attempt has
    // begun may not have ended.
    this.#catchUp(progress)
    return undefined
  }

  async #send(): Promise<StoredAs> {
    /** The chunk after the one that is digested and sent. */
    let ahead: ReadChunk | undefined
    try {
      while (!this.#stored) {
        if (this.#failure) throw this.#failure
        const changed = new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        const chunk = ahead ?? this.#readChunk(0)
        ahead = undefined
        if (chunk) {
          const buffer = await chunk.buffer
          ahead = this.#readChunk(1)
          await this.#sendChunk(chunk, buffer)
        } else if (this.#complete) await this.#askToVerify()
        else await changed
      }
      return this.#stored
    } finally {
      await ahead?.buffer.then((buffer) => this.#options.link.buffers.put(buffer)).catch(() => {})
    }
  }

  /** Starts to read the next chunk, if one may be sent after `unsent` others. */
  #readChunk(unsent: number): ReadChunk | undefined {
    if (this.#unanswered.size + unsent >= clientLimits.unansweredChunks) return undefined
    const { pace, clock } = this.#options
    const span = this.#window.take(pace.chunkBytes(this.#chunkBytes, clock.now()))
    if (!span) return undefined
    const buffer = this.#read(span)
    // The error is thrown when the chunk is used.
    buffer.catch(() => {})
    return { span, buffer, round: this.#window.round }
  }

  async #read({ offset, length }: Span): Promise<Uint8Array> {
    const { link, source } = this.#options
    const buffer = await link.buffers.take()
    try {
      const read = await source.read(buffer.subarray(0, length), offset)
      if (read < length) throw this.#changed('became shorter')
      return buffer
    } catch (error) {
      link.buffers.put(buffer)
      throw error
    }
  }

  /** Whether everything is sent and digested, and the server has not been asked to verify it. */
  get #complete(): boolean {
    const { size } = this.#options.source
    return !this.#asking && this.#window.taken === size && this.#options.digest.position === size
  }

  async #sendChunk({ span, round }: ReadChunk, buffer: Uint8Array): Promise<void> {
    const { link, pace, clock, digest } = this.#options
    const bytes = buffer.subarray(0, span.length)
    const giveBack = () => link.buffers.put(buffer)
    // The digest is computed while the chunk waits.
    digest.follow(span.offset, [bytes])
    if (digest.position < span.offset) this.#catchUp(span.offset + span.length)
    try {
      await untilAdmitted(pace, clock, span.length, this.#failing)
    } catch {
      return giveBack()
    }
    if (this.#failure || round !== this.#window.round) {
      pace.refused(span.length, clock.now())
      return giveBack()
    }
    const chunk = { event: 'PostFileReq', progress: span.offset, content: [bytes] } as const
    const { seq, reply } = link.peer.ask(chunk, this.#instance, 'chunks', giveBack)
    this.#asked(seq, span.length)
    reply.then(
      (ack) => this.#acknowledged(seq, span, ack),
      (error: OspError) => {
        pace.refused(span.length, clock.now())
        this.#refused(seq, error)
      },
    )
  }

  #acknowledged(seq: number, span: Span, ack: WireMessage<'PostFileAck'>): void {
    const { pace, clock, upload, progressed } = this.#options
    pace.acknowledged(span.length, clock.now())
    if (!this.#unanswered.delete(seq)) return
    upload.transferred += span.length
    const { taken } = this.#window
    this.#guarded(() => this.#window.reply(seq, span, ack.progress))
    // The server has bytes that this process has not sent.
    if (this.#window.taken > taken) this.#catchUp(this.#window.taken)
    progressed(this.#window.acknowledged, ack.durable)
    this.#reportVerifying()
  }

  /** Sends the digest after the last chunk, without waiting for its reply. If a chunk is missing, the answer names the offset. */
  async #askToVerify(): Promise<void> {
    const { link, source, digest, upload, notice } = this.#options
    if (!(await source.unchanged())) throw this.#changed('was written to')
    if (!this.#complete || this.#failure) return
    this.#asking = true
    const fileDigest = digest.now()
    const { modifiedAt } = source
    const messageId = notice && versionMessageId(bytesOfHex(notice.id), { digest: fileDigest, modifiedAt })
    const sent = messageId && { messageId, recipients: notice.recipients }
    const receipts = notice?.receipt ? { receipts: 1 } : {}
    const question = { event: 'FileMd5Req', digest: fileDigest, ...(sent && { notice: sent, ...receipts }) } as const
    this.#noticeId = messageId && hex(messageId)
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
        for (const bytes of this.#unanswered.values()) upload.transferred += bytes
        this.#reportVerifying(true)
        this.#guarded(() => {
          const unseen = notice?.recipients.filter((name) => ack.unseen?.includes(name))
          this.#stored = storedAs({ ...ack, unseen })
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
      this.#options.progressed(this.#window.acknowledged)
    }
  }

  /** Reports a change. The server verifies a file only when it has all of it: a digest that waits after chunks does not start that. */
  #reportVerifying(verifying = this.#asking && this.#window.acknowledged === this.#options.source.size): void {
    const { upload } = this.#options
    // The upload can have been paused or cancelled meanwhile.
    if (upload.phase === (verifying ? 'sending' : 'verifying')) upload.move(verifying ? 'verify' : 'resend')
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
    const { digest } = this.#options
    digest.catchUp(end).then(
      (agreed) => {
        if (agreed === undefined) return this.#wake()
        digest.rewind(0)
        this.#fail(new OspError('digest-mismatch', 'the server has different bytes for this file'))
      },
      (error: unknown) =>
        this.#fail(error instanceof RangeError ? this.#changed('became shorter') : OspError.from(error)),
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

  /** Returns the error for a source that has changed, as `how` describes. */
  #changed(how: string): OspError {
    return sourceChanged(this.#options.upload.name, how)
  }

  #fail(error: OspError): void {
    this.#failure ??= error
    this.#failing.abort()
    this.#wake()
  }

  /** Frees the instance when the client ends the attempt. The server keeps its bytes. */
  async #release(): Promise<void> {
    const { link, progressed } = this.#options
    if (!this.#hasInstance || link.peer.ended) return
    const pause = link.peer.ask({ event: 'PauseFileReq' }, this.#instance)
    await pause.reply.then(
      ({ progress, durable }) => progressed(progress, durable),
      () => {},
    )
  }
}

/**
 * Sends START or CONTINUE. Rejects with the server's refusal; with `unsupported-version` if the server does not keep metadata; or with
 * `malformed` if the values that it grants cannot be used.
 */
async function requestInstance(options: UploadAttemptOptions) {
  const { link, upload, fresh } = options
  const file = openingOf(options)
  const ack = fresh
    ? await link.peer.ask({ event: 'StartPostFileReq', ...file }).reply
    : await link.peer.ask({ event: 'ContinuePostFileReq', ...file, progress: upload.progress.acknowledged }).reply
  if (ack.stored && 'fileDigest' in file) return ack
  if (ack.instance === 0) throw protocolViolation('it assigned no instance')
  if (ack.chunk === 0 || ack.window === 0) throw protocolViolation('it granted a chunk size or a window of 0 bytes')
  return ack
}

/** Returns the fields of START and CONTINUE. Throws OspError `unsupported-version` if the server does not support them. */
function openingOf({ link, upload, source, algorithm, metadata, notice, fileDigest }: UploadAttemptOptions) {
  const { size, modifiedAt } = source
  const file = { fileName: upload.name, size, modifiedAt, digest: digestNumbers[algorithm] }
  // With a message about the file, the reply to the digest must follow the message.
  const digest = notice ? undefined : fileDigest
  if ((link.welcome.features & features.storedFiles) === 0) {
    const needed = (metadata && 'metadata') ?? (notice && 'recipients')
    if (needed === undefined) return file
    throw new OspError(
      'unsupported-version',
      `the server does not store files with ${needed}; send the file without ${needed}`,
    )
  }
  if (!metadata && !notice && !digest) return file
  const recipients = notice?.recipients ?? []
  const optional = { ...((notice || digest) && { recipients }), ...(digest && { fileDigest: digest }) }
  return { ...file, metadata: textsOf(metadata ?? {}), ...optional }
}

/** Returns the error for a source that has changed, as `how` describes. */
export function sourceChanged(name: string, how: string): OspError {
  const text = `${name} ${how} while it was being sent; send it again when nothing is writing to it`
  return new OspError('source-changed', text)
}

/** Returns the place of a file. Throws OspError `malformed` if its name is not safe to show to people and programs. */
export function storedAs({
  storedName,
  replaced = 0,
  unseen = [],
  notified,
}: Pick<WireMessage<'FileMd5Ack'>, 'storedName' | 'replaced' | 'unseen' | 'notified'>): StoredAs {
  if (!isStoredFileName(storedName)) throw protocolViolation('the name of the stored file is not allowed')
  const named = { ...(unseen.length > 0 && { unseen }), ...(notified && { notified }) }
  return { storedName, replaced: replaced !== 0, ...named }
}
