import { createHash } from 'node:crypto'
import type { ErrorCode } from '../../lib/errors.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { digestNumbers } from '../../lib/wire/protocol.ts'
import type { RawClient } from './rawClient.ts'

/** A file to send in raw frames. */
export interface Subject {
  readonly name: string
  readonly bytes: Uint8Array
  readonly modifiedAt?: number
  /** The recipients of the message about the file. */
  readonly recipients?: readonly string[]
  readonly metadata?: Readonly<Record<string, string>>
  /** The digest of the file in START and CONTINUE. */
  readonly fileDigest?: Uint8Array
  /** Overrides the number of bytes. */
  readonly size?: number
  readonly digest?: number
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()

/** The requests about files, one method each; each resolves with the reply, which must come next. */
export class FileClient {
  readonly raw: RawClient
  readonly node: number

  constructor(raw: RawClient, node: number) {
    this.raw = raw
    this.node = node
  }

  sendStart(subject: Subject): number {
    return this.raw.send('StartPostFileReq', fieldsOf(subject))
  }

  sendContinue(subject: Subject): number {
    return this.raw.send('ContinuePostFileReq', { ...fieldsOf(subject), progress: 0 })
  }

  start(subject: Subject): Promise<WireMessage<'StartPostFileAck'>> {
    this.sendStart(subject)
    return this.raw.expect('StartPostFileAck')
  }

  startRefused(subject: Subject, code: ErrorCode): Promise<WireMessage<'StartPostFileNack'>> {
    this.sendStart(subject)
    return this.raw.refused('StartPostFileNack', code)
  }

  continue(subject: Subject): Promise<WireMessage<'ContinuePostFileAck'>> {
    this.sendContinue(subject)
    return this.raw.expect('ContinuePostFileAck')
  }

  continueRefused(subject: Subject, code: ErrorCode): Promise<WireMessage<'ContinuePostFileNack'>> {
    this.sendContinue(subject)
    return this.raw.refused('ContinuePostFileNack', code)
  }

  sendChunk(instance: number, progress: number, bytes: Uint8Array): number {
    return this.raw.send('PostFileReq', { progress, content: bytes.length > 0 ? [bytes] : [] }, instance)
  }

  chunk(instance: number, progress: number, bytes: Uint8Array): Promise<WireMessage<'PostFileAck'>> {
    this.sendChunk(instance, progress, bytes)
    return this.raw.expect('PostFileAck')
  }

  chunkRefused(
    instance: number,
    progress: number,
    bytes: Uint8Array,
    code: ErrorCode,
  ): Promise<WireMessage<'PostFileNack'>> {
    this.sendChunk(instance, progress, bytes)
    return this.raw.refused('PostFileNack', code)
  }

  sendEnd(instance: number, digest: Uint8Array, notice?: WireMessage<'FileMd5Req'>['notice']): number {
    return this.raw.send('FileMd5Req', { digest, ...(notice && { notice }) }, instance)
  }

  end(
    instance: number,
    digest: Uint8Array,
    notice?: WireMessage<'FileMd5Req'>['notice'],
  ): Promise<WireMessage<'FileMd5Ack'>> {
    this.sendEnd(instance, digest, notice)
    return this.raw.expect('FileMd5Ack')
  }

  endRefused(instance: number, digest: Uint8Array, code: ErrorCode): Promise<WireMessage<'FileMd5Nack'>> {
    this.sendEnd(instance, digest)
    return this.raw.refused('FileMd5Nack', code)
  }

  sendPause(instance: number): number {
    return this.raw.send('PauseFileReq', {}, instance)
  }

  pause(instance: number): Promise<WireMessage<'PauseFileAck'>> {
    this.sendPause(instance)
    return this.raw.expect('PauseFileAck')
  }

  sendCancel(fileName: string): number {
    return this.raw.send('CancelFileReq', { fileName })
  }

  /** Resolves with the outcome. */
  async cancel(fileName: string): Promise<number> {
    this.sendCancel(fileName)
    return (await this.raw.expect('CancelFileAck')).outcome
  }

  /** Sends a whole file; resolves with the name under which it is stored. */
  async upload(subject: Subject): Promise<string> {
    const { instance } = await this.start(subject)
    if (subject.bytes.length > 0) await this.chunk(instance, 0, subject.bytes)
    return (await this.end(instance, sha256(subject.bytes))).storedName
  }

  /** Sends a whole file in one request. */
  sendPut(subject: Subject, fileDigest: Uint8Array = sha256(subject.bytes)): number {
    return this.raw.send('PutFileReq', { ...fieldsOf(subject), fileDigest, content: [subject.bytes] })
  }

  put(subject: Subject): Promise<WireMessage<'PutFileAck'>> {
    this.sendPut(subject)
    return this.raw.expect('PutFileAck')
  }

  putRefused(subject: Subject, code: ErrorCode, fileDigest?: Uint8Array): Promise<WireMessage<'PutFileNack'>> {
    this.sendPut(subject, fileDigest)
    return this.raw.refused('PutFileNack', code)
  }

  /** Sends several files in one request. */
  sendPutAll(subjects: readonly Subject[], content = subjects.map(({ bytes }) => bytes)): number {
    const files = subjects.map((subject) => ({ ...fieldsOf(subject), fileDigest: sha256(subject.bytes) }))
    return this.raw.send('PutFilesReq', { files, content })
  }

  putAll(subjects: readonly Subject[]): Promise<WireMessage<'PutFilesAck'>> {
    this.sendPutAll(subjects)
    return this.raw.expect('PutFilesAck')
  }

  vanish(): Promise<void> {
    return this.raw.vanish()
  }
}

function fieldsOf({ name, bytes, recipients = [], metadata = {}, fileDigest, ...subject }: Subject) {
  const { modifiedAt = 1_000, size = bytes.length, digest = digestNumbers.sha256 } = subject
  const fields = { fileName: name, size, modifiedAt, digest }
  const texts = Object.entries(metadata).map(([key, value]) => ({ key, value }))
  if (texts.length === 0 && recipients.length === 0 && !fileDigest) return fields
  return { ...fields, metadata: texts, recipients, ...(fileDigest && { fileDigest }) }
}
