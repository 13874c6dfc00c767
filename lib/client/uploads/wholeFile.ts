import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, KiB } from '../../limits.ts'
import type { Clock, DigestName } from '../../ports/platform.ts'
import type { FileSource, WholeContent } from '../../ports/source.ts'
import { putHeadBytes } from '../../wire/frame.ts'
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

/** Reads a source in one call. Resolves with `undefined` if it must be opened instead. */
export async function readSource(
  source: FileSource,
  link: OnlineLink,
  maxBytes: number,
): Promise<WholeFile | undefined> {
  const memory = new FileMemory(link)
  const whole = await readWhole(source, maxBytes, memory.take)
  const { giveBack } = memory
  if (whole) return { ...whole, giveBack }
  giveBack?.()
  return undefined
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

/** Sends a whole file in one request. Resolves with its place; rejects as `UploadAttempt.run` does. */
export async function sendWholeFile(
  options: WholeFileOptions,
  { content, modifiedAt, giveBack }: WholeFile,
): Promise<StoredAs> {
  const { link, clock, pace, upload, algorithm, fileDigest, interruption } = options
  const size = content.length
  try {
    await untilAdmitted(pace, clock, size, interruption)
    if (interruption.isInterrupted) {
      pace.refused(size, clock.now())
      throw new OspError('closed')
    }
  } catch (error) {
    giveBack?.()
    throw error
  }
  const file = { fileName: upload.name, size, modifiedAt, digest: digestNumbers[algorithm], fileDigest }
  const verify = () => {
    if (upload.phase === 'sending') upload.move('verify')
  }
  const flushed =
    giveBack &&
    (() => {
      giveBack()
      verify()
    })
  const { seq, reply } = link.peer.ask({ event: 'PutFileReq', ...file, content: [content] }, 0, 'chunks', flushed)
  if (!flushed && link.peer.isAwaitingReply(seq)) verify()
  interruption.onInterrupt = () => {
    if (!link.peer.isAwaitingReply(seq)) link.peer.abandon(seq)
  }
  try {
    const ack = await reply
    verify()
    pace.acknowledged(size, clock.now(), clientLimits.storeMs)
    upload.transferred += size
    return storedAs(ack)
  } catch (error) {
    pace.refused(size, clock.now())
    throw error
  } finally {
    interruption.onInterrupt = undefined
  }
}
