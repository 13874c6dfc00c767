import { OspError } from '../../errors.ts'
import { clientLimits, fixed } from '../../limits.ts'
import type { Backoff } from '../../runtime/backoff.ts'
import type { Releasable } from '../../runtime/linkDriver.ts'
import { onAbort, wait } from '../../runtime/wait.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type OnlineLink, protocolViolation, refusalBackoff } from '../connection/session.ts'
import { untilAdmitted } from '../uploads/untilAdmitted.ts'
import { type FileInfo, type FileReference, type FileRequests, grantOf } from './fileRequests.ts'

/** A part of a stored file. */
interface ReadSpan {
  readonly offset: number
  length: number
  /** The content, after it has arrived. */
  chunk: FileChunk | undefined
  /** The unanswered request, if there is one. */
  request: { readonly link: OnlineLink; readonly seq: number } | undefined
}

/** Bytes of a stored file at `offset`. */
export interface FileChunk extends Releasable {
  readonly offset: number
  readonly content: Parts
}

export interface ReadAheadOptions {
  readonly requests: FileRequests
  readonly file: Pick<FileInfo, 'name' | 'size' | 'version'>
  /** The reference to the file, if it belongs to another user. */
  readonly reference: FileReference | undefined
  /** Ends the reading: it rejects with OspError `closed`. */
  readonly signal: AbortSignal
  /** Called with the error because of which reading waits. */
  readonly stalled: (error: OspError) => void
}

/** The maximum length of the content of one reply. Its payload also contains the offset. */
const longestRead = fixed.clientFrameBytes / 2

/**
 * Reads one version of a stored file, in order, with several requests in flight. Each request is self-contained: after a lost
 * link only the unanswered requests are repeated. The number of bytes that are requested and not handed over yet is bounded.
 */
export class ReadAhead {
  readonly #options: ReadAheadOptions
  readonly #stopping = new AbortController()
  readonly #backoff: Backoff
  /** The parts that are requested or have arrived, in the order of their offsets. */
  #spans: ReadSpan[] = []
  /** The end of the requested parts. */
  #end: number
  /** The bytes before this offset were handed over, and are no longer used. */
  #consumed: number
  /**
   * The length of the next request. The server may return less while its memory is exhausted; the length grows again after that.
   */
  #most = longestRead
  #refusal: OspError | undefined
  #failure: OspError | undefined
  #wake: () => void = () => {}
  #wakeRequester: () => void = () => {}

  constructor(options: ReadAheadOptions, offset: number) {
    const { platform, retryForMs } = options.requests.options
    this.#options = options
    this.#end = offset
    this.#consumed = offset
    this.#backoff = refusalBackoff(platform, retryForMs)
  }

  /**
   * Yields the content up to the end of the file. Rejects with the final error of a request, such as `version-changed`.
   */
  async *chunks(): AsyncGenerator<FileChunk> {
    const { file, signal } = this.#options
    using _ = onAbort(signal, () => this.#fail(new OspError('closed')))
    const requesting = this.#request()
    try {
      while (this.#consumed < file.size) {
        const chunk = await this.#next()
        const end = chunk.offset + lengthOf(chunk.content)
        yield chunk
        this.#consumed = end
        this.#wakeRequester()
      }
    } finally {
      this.#stop()
      await requesting
    }
  }

  async #next(): Promise<FileChunk> {
    for (;;) {
      if (this.#failure) throw this.#failure
      const [first] = this.#spans
      if (first?.chunk) {
        this.#spans.shift()
        return first.chunk
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Sends requests until the end, one after another. */
  async #request(): Promise<void> {
    const { platform } = this.#options.requests.options
    const { signal } = this.#stopping
    try {
      while (!signal.aborted) {
        const changed = new Promise<void>((resolve) => {
          this.#wakeRequester = resolve
        })
        const refusal = this.#refusal
        if (refusal) {
          const waitMs = this.#backoff.next(refusal)
          this.#options.stalled(refusal)
          await wait(platform.clock, waitMs, signal)
          this.#refusal = undefined
        }
        const span = this.#spans.find(({ chunk, request }) => !chunk && !request) ?? this.#newSpan()
        if (span) await this.#ask(span)
        else await changed
      }
    } catch (error) {
      this.#fail(OspError.from(error))
    }
  }

  #newSpan(): ReadSpan | undefined {
    const { file, requests } = this.#options
    const { pace, platform } = requests.options
    const room = clientLimits.downloadBytes - (this.#end - this.#consumed)
    const length = Math.min(pace.chunkBytes(this.#most, platform.clock.now()), file.size - this.#end)
    if (length === 0 || length > room) return undefined
    const span: ReadSpan = { offset: this.#end, length, chunk: undefined, request: undefined }
    this.#spans.push(span)
    this.#end += length
    return span
  }

  async #ask(span: ReadSpan): Promise<void> {
    const { requests, file, reference } = this.#options
    const { pace, platform, session } = requests.options
    const { offset, length } = span
    const { signal } = this.#stopping
    await requests.online(signal)
    await untilAdmitted(pace, platform.clock, length, { signal })
    const { link } = session
    if (!link || signal.aborted) {
      pace.refused(length, platform.clock.now())
      return
    }
    const { name: fileName, version } = file
    const grant = reference && { grant: grantOf(reference) }
    const { seq, reply } = link.peer.ask({ event: 'ReadFileReq', fileName, version, offset, length, ...grant })
    span.request = { link, seq }
    reply.then(
      (ack) => {
        pace.acknowledged(length, platform.clock.now())
        span.request = undefined
        this.#received(span, ack)
      },
      (error: OspError) => {
        pace.refused(length, platform.clock.now())
        span.request = undefined
        this.#refused(error, link)
      },
    )
  }

  #received(span: ReadSpan, { offset, content, release }: WireMessage<'ReadFileAck'> & Releasable): void {
    const bytes = lengthOf(content)
    if (offset !== span.offset || bytes === 0 || bytes > span.length) {
      const text = `it answered a request for ${span.length} bytes at ${span.offset} with ${bytes} bytes at ${offset}`
      this.#fail(protocolViolation(text))
      return
    }
    if (bytes < span.length) {
      this.#most = bytes
      const rest = { offset: offset + bytes, length: span.length - bytes, chunk: undefined, request: undefined }
      this.#spans.splice(this.#spans.indexOf(span) + 1, 0, rest)
      span.length = bytes
    } else this.#most = Math.min(longestRead, Math.max(this.#most, 2 * bytes))
    span.chunk = { offset, content, ...(release && { release }) }
    this.#backoff.reset()
    this.#wake()
    this.#wakeRequester()
  }

  #refused(error: OspError, link: OnlineLink): void {
    if (this.#stopping.signal.aborted) return
    if (link.peer.ended) this.#options.stalled(error)
    else if (error.retry === 'later') this.#refusal ??= error
    else this.#fail(error)
    this.#wakeRequester()
  }

  #fail(error: OspError): void {
    if (this.#stopping.signal.aborted) return
    this.#failure = error
    this.#stop()
    this.#wake()
  }

  #stop(): void {
    this.#stopping.abort()
    for (const { request } of this.#spans) request?.link.peer.abandon(request.seq)
    this.#wakeRequester()
  }
}
