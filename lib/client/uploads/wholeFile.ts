import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { clientLimits, KiB } from '../../limits.ts'
import { onAbort } from '../../runtime/wait.ts'
import { putHeadBytes } from '../../wire/frame.ts'
import type { WireMessage } from '../../wire/message.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import type { OnlineLink } from '../connection/session.ts'
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

/** Sends a whole file in one request. Resolves and rejects as `UploadAttempt.run` does. */
export async function sendWholeFile(
  options: Omit<UploadAttemptOptions, 'fresh' | 'granted' | 'progressed'>,
): Promise<StoredAs> {
  const { link, clock, pace, upload, source, signal } = options
  const { size } = source
  const isOwn = size <= ownBufferBytes
  const buffer = isOwn ? new Uint8Array(size) : await link.buffers.take()
  const giveBack = () => {
    if (!isOwn) link.buffers.put(buffer)
  }
  const request = await requestOf(options, buffer.subarray(0, size)).catch((error: unknown) => {
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
    return storedAs(ack)
  } catch (error) {
    pace.refused(size, clock.now())
    throw error
  }
}

/** Reads and digests the file into `content`. Resolves when the request may be sent; rejects if the file has changed. */
async function requestOf(
  { clock, pace, upload, source, algorithm, digest, signal }: Parameters<typeof sendWholeFile>[0],
  content: Uint8Array,
): Promise<WireMessage<'PutFileReq'>> {
  const { size, modifiedAt } = source
  if ((await source.read(content, 0)) < size) throw sourceChanged(upload.name, 'became shorter')
  if (!(await source.unchanged())) throw sourceChanged(upload.name, 'was written to')
  digest.follow(0, [content])
  await untilAdmitted(pace, clock, size, signal)
  if (signal.aborted) {
    pace.refused(size, clock.now())
    throw new OspError('closed')
  }
  const file = { fileName: upload.name, size, modifiedAt, digest: digestNumbers[algorithm], fileDigest: digest.now() }
  return { event: 'PutFileReq', ...file, content: [content] }
}
