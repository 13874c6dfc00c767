import type { DigestCheckpoint } from '../../runtime/incrementalDigest.ts'
import { digestNumbers } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/answers.ts'
import type { UploadAttemptOptions } from './uploadAttemptOptions.ts'

/** What START or CONTINUE was granted. */
export interface Opened {
  readonly instance: number
  /** Of a chunk that fits the server's frames, at most. */
  readonly chunkBytes: number
  readonly windowBytes: number
  readonly progress: number
  /** The server's last checkpoint, to compare the source with. */
  readonly checkpoint: DigestCheckpoint | undefined
}

/** Bytes of a POST_FILE_REQ's payload in front of the content. */
const offsetBytes = 8

/** Asks for an instance. Rejects with what the server refuses it with, or `malformed` where nobody could use what it grants. */
export async function requestInstance(options: Omit<UploadAttemptOptions, 'digest'>): Promise<Opened> {
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
