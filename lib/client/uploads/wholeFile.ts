import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, KiB } from '../../limits.ts'
import type { Clock, DigestName } from '../../ports/platform.ts'
import type { FileSource, WholeContent } from '../../ports/source.ts'
import type { SentFile } from '../../ports/storage.ts'
import type { Deferred } from '../../runtime/deferred.ts'
import { hex } from '../../runtime/hex.ts'
import { errorOf } from '../../runtime/refusal.ts'
import { chain, type MaybePromise } from '../../runtime/settled.ts'
import { joined, putFilesHeadBytes, putHeadBytes } from '../../wire/frame.ts'
import type { WireMessage } from '../../wire/message.ts'
import { digestNumbers, features } from '../../wire/protocol.ts'
import { type OnlineLink, protocolViolation } from '../connection/session.ts'
import { type GuardedSource, readWhole } from './guardedSource.ts'
import { Interruption } from './interruption.ts'
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

  take(bytes: number): Uint8Array | Promise<Uint8Array> {
    return bytes <= ownBufferBytes ? new Uint8Array(bytes) : this.#buffer()
  }

  /** Returns the file in this memory. */
  holding({ content, modifiedAt }: WholeContent): WholeFile {
    return { content, modifiedAt, giveBack: this.giveBack }
  }

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
  const read = (whole: WholeContent | undefined) => {
    if (!whole) memory.giveBack?.()
    return whole && memory.holding(whole)
  }
  return chain(readWhole(source, maxBytes, memory), read)
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
    return memory.holding({ content: buffer.subarray(0, size), modifiedAt })
  } catch (error) {
    memory.giveBack?.()
    throw error
  }
}

/** A whole file to send. */
export interface PreparedFile extends WholeFile {
  readonly upload: ClientUpload
  readonly algorithm: DigestName
  readonly fileDigest: Uint8Array
  /** Ends the attempt unless the request has been sent. A sent request is not abandoned, because the server stores the file anyway. */
  readonly interruption: Interruption
  /** `resolve` is called when the file is stored, `reject` with the error as `UploadAttempt.run` rejects. */
  readonly end: Pick<Deferred<SentFile>, 'resolve' | 'reject'>
}

/** The options that all requests of a client share. */
export interface PutOptions {
  readonly platform: { readonly clock: Clock }
  readonly pace: Pacer
  /** Runs `work`, which ends several uploads, before other uploads begin. */
  readonly together: (work: () => void) => void
}

/** A request with one or more whole files. Only a request with a single file may have a buffer of the link. */
export class PutRequest implements Pick<Deferred<WireMessage>, 'resolve' | 'reject'> {
  readonly #link: OnlineLink
  readonly #options: PutOptions
  /** The files that were not interrupted. */
  #files: readonly PreparedFile[]
  /** The bytes that count as in flight, from the admission to the end of the request. */
  readonly #bytes: number
  #isAdmitted = false
  /** Interrupted when all files were interrupted before the admission. */
  readonly #waiting = new Interruption()
  #isMade = false
  /** The number of the request, if it was made and not abandoned. */
  #seq: number | undefined

  constructor(link: OnlineLink, options: PutOptions, files: readonly PreparedFile[], bytes: number) {
    this.#link = link
    this.#options = options
    this.#files = files
    this.#bytes = bytes
  }

  /** Sends the request when the rate limit and the limit of the link permit it. */
  start(): void {
    const { pace, platform } = this.#options
    for (const { interruption } of this.#files) interruption.onInterrupt = this.#interrupted
    const admitted = untilAdmitted(pace, platform.clock, this.#bytes, this.#waiting)
    const send = () => {
      this.#isAdmitted = true
      this.#send()
    }
    if (admitted) admitted.then(send, (error: unknown) => this.#fail(error))
    else send()
  }

  #send(): void {
    this.#drop()
    const { peer } = this.#link
    const files = this.#files
    const [first] = files
    if (!first) {
      this.#refused()
      return
    }
    this.#isMade = true
    this.#seq = peer.request(requestOf(files), this, 0, 'chunks', first.giveBack)
  }

  /** Ends the files that were interrupted. */
  #drop(): void {
    const dropped = this.#files.filter(({ interruption }) => interruption.isInterrupted)
    if (dropped.length === 0) return
    this.#files = this.#files.filter(({ interruption }) => !interruption.isInterrupted)
    if (this.#files.length === 0) this.#waiting.interrupt()
    for (const { giveBack, end } of dropped) {
      // Once the request is made, the link gives the buffer back.
      if (!this.#isMade) giveBack?.()
      end.reject(new OspError('closed'))
    }
  }

  /** A request that has been sent is not abandoned. */
  readonly #interrupted = (): void => {
    const { peer } = this.#link
    const seq = this.#seq
    if (seq === undefined) this.#drop()
    else if (!peer.isAwaitingReply(seq)) {
      this.#seq = undefined
      peer.abandon(seq)
      this.#send()
    }
  }

  /** Handles the ACK. */
  resolve(ack: WireMessage): void {
    const { platform, pace, together } = this.#options
    const results = resultsOf(ack, this.#files.length)
    if (results instanceof OspError) {
      this.#fail(results)
      return
    }
    pace.acknowledged(this.#bytes, platform.clock.now(), clientLimits.storeMs)
    together(() => {
      this.#files.forEach(({ upload, content, algorithm, fileDigest, interruption, end }, index) => {
        interruption.onInterrupt = undefined
        const result = results[index]
        if (!result || result instanceof OspError) {
          end.reject(result)
          return
        }
        const { storedName, replaced } = result
        const size = content.length
        upload.transferred += size
        end.resolve({ name: upload.name, storedName, replaced, size, algorithm, digest: hex(fileDigest) })
      })
    })
  }

  /** Handles the refusal, or the end of the link. */
  reject(error: unknown): void {
    // An abandoned request has no number, and its remaining files are in another one.
    if (this.#seq !== undefined || this.#link.peer.ended) this.#fail(error)
  }

  #fail(error: unknown): void {
    this.#refused()
    for (const { interruption, end } of this.#files) {
      interruption.onInterrupt = undefined
      end.reject(error)
    }
  }

  #refused(): void {
    const { pace, platform } = this.#options
    if (this.#isAdmitted) pace.refused(this.#bytes, platform.clock.now())
    this.#isAdmitted = false
  }
}

function requestOf(files: readonly PreparedFile[]): WireMessage<'PutFileReq'> | WireMessage<'PutFilesReq'> {
  const [only] = files
  if (only && files.length === 1) return { event: 'PutFileReq', ...fieldsOf(only), content: [only.content] }
  return { event: 'PutFilesReq', files: files.map(fieldsOf), content: [joined(files.map(({ content }) => content))] }
}

const fieldsOf = ({ upload, content, modifiedAt, algorithm, fileDigest }: PreparedFile) => ({
  fileName: upload.name,
  size: content.length,
  modifiedAt,
  digest: digestNumbers[algorithm],
  fileDigest,
})

/** Returns the result of each file of a request, or the error if the ACK does not have as many. */
function resultsOf(ack: WireMessage, files: number): readonly (StoredAs | OspError)[] | OspError {
  try {
    if (ack.event !== 'PutFilesAck') return [storedAs(ack as WireMessage<'PutFileAck'>)]
    const results: (StoredAs | OspError)[] = []
    for (const { file, ...refusal } of ack.refused) results[file] = errorOf(refusal)
    let at = 0
    for (const stored of ack.stored) {
      while (results[at]) at++
      results[at] = storedAs(stored)
    }
    if (results.length === files && ack.stored.length + ack.refused.length === files) return results
    throw protocolViolation(`it sent ${results.length} results for a request with ${files} files`)
  } catch (error) {
    return OspError.from(error)
  }
}

/** Combines small files into requests. */
export class PutBatch {
  readonly #link: OnlineLink
  readonly #options: PutOptions
  /** The maximum number of bytes of content in a request; negative if the server accepts only one file in each. */
  readonly #mostBytes: number
  #files: PreparedFile[] = []
  #bytes = 0
  #headBytes = 0

  constructor(link: OnlineLink, options: PutOptions) {
    const { pace, platform } = options
    this.#link = link
    this.#options = options
    const isAccepted = (link.welcome.features & features.putFiles) !== 0
    const most = Math.min(putFilesBytes, link.welcome.maxFrame - putFilesHeadBytes)
    this.#mostBytes = isAccepted ? Math.min(most, maxWholeFileBytes(link, pace, platform.clock.now())) : -1
  }

  /** Adds a file to the next request, or sends it in its own. */
  add(file: PreparedFile): void {
    const bytes = file.content.length
    if (file.giveBack || bytes > Math.min(putFilesFileBytes, this.#mostBytes)) {
      new PutRequest(this.#link, this.#options, [file], bytes).start()
      return
    }
    const headBytes = putFileHeadBytes(file.upload.name)
    const isFull =
      this.#files.length === putFiles ||
      this.#bytes + bytes > this.#mostBytes ||
      this.#headBytes + headBytes > putFilesHeadBytes
    if (isFull) this.flush()
    this.#files.push(file)
    this.#bytes += bytes
    this.#headBytes += headBytes
  }

  /** Sends the files that were added. */
  flush(): void {
    if (this.#files.length === 0) return
    const request = new PutRequest(this.#link, this.#options, this.#files, this.#bytes)
    this.#files = []
    this.#bytes = 0
    this.#headBytes = 0
    request.start()
  }
}

const { putFiles, putFilesBytes, putFilesFileBytes } = clientLimits

/** Returns at least the number of bytes that a file takes in the head of a request: each character has up to three bytes in UTF-8. */
const putFileHeadBytes = (name: string) => 64 + 3 * name.length
