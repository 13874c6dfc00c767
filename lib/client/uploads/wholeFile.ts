import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, KiB } from '../../limits.ts'
import type { Digests } from '../../ports/platform.ts'
import type { SentFile } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { onAbort } from '../../runtime/wait.ts'
import { putHeadBytes } from '../../wire/frame.ts'
import type { WireMessage } from '../../wire/message.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import type { OnlineLink } from '../connection/session.ts'
import type { GuardedSource } from './guardedSource.ts'
import { untilAdmitted } from './untilAdmitted.ts'
import { type StoredAs, sourceChanged, storedAs, type UploadAttemptOptions } from './uploadAttempt.ts'

/** Larger files are read into the buffers of the link, which are reused. */
const ownBufferBytes = 64 * KiB

/** Returns whether to send a file of this size in one request: whether the link carries it in a short time. */
export function fitsOneRequest({ welcome }: OnlineLink, pace: Pacer, size: number, now: number): boolean {
  const { maxFrame, maxPut = 0 } = welcome
  const most = Math.min(maxPut, maxFrame - putHeadBytes, clientLimits.bufferBytes)
  return maxPut > 0 && size <= most && size <= pace.fileBytes(most, now)
}

interface WholeFileOptions extends Omit<UploadAttemptOptions, 'digest' | 'fresh' | 'granted' | 'progressed'> {
  readonly source: GuardedSource
  readonly digests: Digests
}

/** Sends a whole file in one request. Resolves with its place and its digest; rejects as `UploadAttempt.run` does. */
export async function sendWholeFile(options: WholeFileOptions): Promise<StoredAs & Pick<SentFile, 'digest'>> {
  const { link, clock, pace, upload, source, signal } = options
  const { size } = source
  const isOwn = size < ownBufferBytes
  const buffer = isOwn ? new Uint8Array(size + 1) : await link.buffers.take()
  const giveBack = () => {
    if (!isOwn) link.buffers.put(buffer)
  }
  const request = await requestOf(options, buffer.subarray(0, size + 1)).catch((error: unknown) => {
    giveBack()
    throw error
  })
  let isSent = false
  const verify = () => {
    isSent = true
    if (upload.phase === 'sending') upload.move('verify')
  }
  const { seq, reply } = link.peer.ask(request, 0, 'chunks', () => {
    giveBack()
    verify()
  })
  // The server stores a file that it has received, so the attempt waits for the reply to a sent request.
  using _ = onAbort(signal, () => {
    if (!isSent) link.peer.abandon(seq)
  })
  try {
    const ack = await reply
    verify()
    pace.acknowledged(size, clock.now(), clientLimits.storeMs)
    upload.transferred += size
    return { ...storedAs(ack), digest: hex(request.fileDigest) }
  } catch (error) {
    pace.refused(size, clock.now())
    throw error
  }
}

/**
 * Reads the file into `buffer`. If the buffer has room for one more byte, the same read shows whether the file has grown.
 * Resolves when the request may be sent; rejects if the file has changed.
 */
async function requestOf(
  { clock, pace, upload, source, algorithm, digests, signal }: WholeFileOptions,
  buffer: Uint8Array,
): Promise<WireMessage<'PutFileReq'>> {
  const { size, modifiedAt } = source
  const bytes = await source.read(buffer, 0)
  if (bytes < size) throw sourceChanged(upload.name, 'became shorter')
  const isSame = await (buffer.length > size ? source.isSame() : source.unchanged())
  if (bytes > size || !isSame) throw sourceChanged(upload.name, 'was written to')
  const content = buffer.subarray(0, size)
  const digest = digests.create(algorithm)
  digest.update(content)
  await untilAdmitted(pace, clock, size, signal)
  if (signal.aborted) {
    pace.refused(size, clock.now())
    throw new OspError('closed')
  }
  const file = {
    fileName: upload.name,
    size,
    modifiedAt,
    digest: digestNumbers[algorithm],
    fileDigest: digest.digest(),
  }
  return { event: 'PutFileReq', ...file, content: [content] }
}
