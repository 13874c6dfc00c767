import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, KiB } from '../../limits.ts'
import type { Clock, DigestName } from '../../ports/platform.ts'
import type { FileSource, WholeContent } from '../../ports/source.ts'
import type { Deferred } from '../../runtime/deferred.ts'
import { chain, type MaybePromise } from '../../runtime/settled.ts'
import { putHeadBytes } from '../../wire/frame.ts'
import type { WireMessage } from '../../wire/message.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import type { OnlineLink } from '../connection/session.ts'
import { type GuardedSource, readWhole } from './guardedSource.ts'
import type { Interruption } from './interruption.ts'
import { untilAdmitted } from './untilAdmitted.ts'
import type { ClientUpload } from './upload.ts'
import { type StoredAs, sourceChanged, storedAs } from './uploadAttempt.ts'

/** Larger files are read into the buffers of the link, which are reused. */
const ownBufferBytes = 64 * KiB

/**
 * Returns the largest file size that may be sent in one request at the present rate of the link, or -1 if the server accepts no such
 * requests.
 */
export function maxWholeFileBytes({ welcome }: OnlineLink, pace: Pacer, now: number): number {
  const { maxFrame, maxPut = 0 } = welcome
  const most = Math.min(maxPut, maxFrame - putHeadBytes, clientLimits.bufferBytes)
  return maxPut > 0 ? Math.min(most, pace.fileBytes(most, now)) : -1
}

/** A whole file in memory. `giveBack` lets a buffer of the link be reused. */
export interface WholeFile extends WholeContent {
  readonly giveBack: (() => void) | undefined
}

/** The memory of one file: its own, or a buffer of the link. */
class FileMemory {
  readonly #link: OnlineLink
  giveBack: (() => void) | undefined

  constructor(link: OnlineLink) {
    this.#link = link
  }

  readonly take = (bytes: number): Uint8Array | Promise<Uint8Array> =>
    bytes <= ownBufferBytes ? new Uint8Array(bytes) : this.#buffer()

  async #buffer(): Promise<Uint8Array> {
    const { buffers } = this.#link
    const buffer = await buffers.take()
    this.giveBack = () => buffers.put(buffer)
    return buffer
  }
}

/** Reads a source in one call. Returns `undefined` if it must be opened instead. */
export function readSource(
  source: FileSource,
  link: OnlineLink,
  maxBytes: number,
): MaybePromise<WholeFile | undefined> {
  const memory = new FileMemory(link)
  return chain(readWhole(source, maxBytes, memory.take), (whole) => {
    const { giveBack } = memory
    if (whole) return { content: whole.content, modifiedAt: whole.modifiedAt, giveBack }
    giveBack?.()
    return undefined
  })
}

/**
 * Reads an open source. If the memory has room for one more byte, the same read shows whether the file has grown. Rejects if it has
 * changed.
 */
export async function readOpened(name: string, source: GuardedSource, link: OnlineLink): Promise<WholeFile> {
  const { size, modifiedAt } = source
  const memory = new FileMemory(link)
  try {
    const buffer = await memory.take(size + 1)
    const bytes = await source.read(buffer.subarray(0, size + 1), 0)
    if (bytes < size) throw sourceChanged(name, 'became shorter')
    const isSame = await (buffer.length > size ? source.isSame() : source.unchanged())
    if (bytes > size || !isSame) throw sourceChanged(name, 'was written to')
    return { content: buffer.subarray(0, size), modifiedAt, giveBack: memory.giveBack }
  } catch (error) {
    memory.giveBack?.()
    throw error
  }
}

interface WholeFileOptions {
  readonly link: OnlineLink
  readonly clock: Clock
  readonly pace: Pacer
  readonly upload: ClientUpload
  readonly algorithm: DigestName
  readonly fileDigest: Uint8Array
  /** Ends the attempt unless the request has been sent. A sent request is not abandoned, because the server stores the file anyway. */
  readonly interruption: Interruption
}

/** Sends a whole file in one request. */
export class WholeFileRequest implements Pick<Deferred<WireMessage>, 'resolve' | 'reject'> {
  readonly #options: WholeFileOptions
  readonly #file: WholeFile
  readonly #end: Pick<Deferred<StoredAs>, 'resolve' | 'reject'>

  /** Calls `end.resolve` when the file is stored, or `end.reject` with the error as `UploadAttempt.run` rejects. */
  constructor(options: WholeFileOptions, file: WholeFile, end: Pick<Deferred<StoredAs>, 'resolve' | 'reject'>) {
    this.#options = options
    this.#file = file
    this.#end = end
  }

  /** Sends the request when the rate limit and the limit of the link permit it. */
  start(): void {
    const { pace, clock, interruption } = this.#options
    const admitted = untilAdmitted(pace, clock, this.#size, interruption)
    if (!admitted) this.#send()
    else {
      admitted.then(
        () => this.#send(),
        (error: unknown) => {
          this.#file.giveBack?.()
          this.#end.reject(error)
        },
      )
    }
  }

  get #size(): number {
    return this.#file.content.length
  }

  #send(): void {
    const { link, clock, pace, upload, algorithm, fileDigest, interruption } = this.#options
    const { content, modifiedAt, giveBack } = this.#file
    const size = this.#size
    if (interruption.isInterrupted) {
      pace.refused(size, clock.now())
      giveBack?.()
      this.#end.reject(new OspError('closed'))
      return
    }
    const { peer } = link
    const seq = peer.request(
      {
        event: 'PutFileReq',
        fileName: upload.name,
        size,
        modifiedAt,
        digest: digestNumbers[algorithm],
        fileDigest,
        content: [content],
      },
      this,
      0,
      'chunks',
      giveBack && (() => this.#flushed()),
    )
    const isSent = peer.isAwaitingReply(seq)
    if (!giveBack && isSent) this.#verify()
    interruption.onInterrupt = () => {
      if (!peer.isAwaitingReply(seq)) peer.abandon(seq)
    }
  }

  #flushed(): void {
    this.#file.giveBack?.()
    this.#verify()
  }

  #verify(): void {
    const { upload } = this.#options
    if (upload.phase === 'sending') upload.move('verify')
  }

  /** Handles the ACK. */
  resolve(ack: WireMessage): void {
    const { clock, pace, upload, interruption } = this.#options
    interruption.onInterrupt = undefined
    try {
      const place = storedAs(ack as WireMessage<'PutFileAck'>)
      this.#verify()
      pace.acknowledged(this.#size, clock.now(), clientLimits.storeMs)
      upload.transferred += this.#size
      this.#end.resolve(place)
    } catch (error) {
      this.reject(error)
    }
  }

  /** Handles the refusal, or the end of the link. */
  reject(error: unknown): void {
    const { clock, pace, interruption } = this.#options
    interruption.onInterrupt = undefined
    pace.refused(this.#size, clock.now())
    this.#end.reject(error)
  }
}
