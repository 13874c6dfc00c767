import type { Pacer } from '../../core/pacer.ts'
import { OspError } from '../../errors.ts'
import { isStoredFileName, isUserName } from '../../names.ts'
import type { CatalogueEntry } from '../../ports/catalogue.ts'
import type { DigestName, Platform } from '../../ports/platform.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import type { AckOf, RequestName, WireMessage } from '../../wire/message.ts'
import type { Attributes } from '../../wire/messageBody.ts'
import { digestNames, features, statFlags } from '../../wire/protocol.ts'
import { type ClientSession, type OnlineLink, protocolViolation } from '../connection/session.ts'
import { askUntilAnswered } from '../connection/untilAnswered.ts'

/** A stored file, as the server describes it. */
export type FileInfo = CatalogueEntry

/**
 * A reference to a version of a stored file, from a message about the file. Its readers can download it until it is removed or
 * replaced, or until `until`. It can be stored as JSON.
 */
export interface FileReference extends Omit<FileInfo, 'storedAt'> {
  readonly algorithm: DigestName
  readonly digest: string
  /** The user whose file it is. */
  readonly owner: string
  /** The users who can read it. */
  readonly readers: readonly string[]
  /** Milliseconds since 1970 by the clock of the server. */
  readonly until: number
  /** In hexadecimal: proves to the server that the readers may read the file. */
  readonly proof: string
}

/** Returns the reference in a message. Throws OspError `malformed`. */
export function fileReference(wire: WireReference): FileReference {
  const { owner, readers, until, proof, ...file } = wire
  const { storedAt: _, algorithm, digest, ...described } = fileInfo({ ...file, storedAt: 0 })
  if (!isUserName(owner) || algorithm === undefined || digest === undefined)
    throw protocolViolation('it sent a reference to a file without a valid owner or digest')
  return { ...described, algorithm, digest, owner, readers, until, proof: hex(proof) }
}

/** Returns the grant of a reference for READ_FILE_REQ. */
export function grantOf({ owner, readers, until, proof }: FileReference) {
  return { owner, readers, until, proof: bytesOfHex(proof) }
}

type WireReference = NonNullable<Attributes['file']>

export interface FileRequestsOptions {
  readonly platform: Platform
  readonly session: ClientSession
  /** Limits the content that is requested and has not arrived, for all downloads together. */
  readonly pace: Pacer
  /** Time for retries after refusals that are not final. */
  readonly retryForMs: number
}

/** Sends requests about stored files. They can be repeated, so a lost link only delays them. */
export class FileRequests {
  readonly options: FileRequestsOptions

  constructor(options: FileRequestsOptions) {
    this.options = options
  }

  /** Resolves with a link to a server that answers requests about stored files. */
  async online(signal: AbortSignal): Promise<OnlineLink> {
    const { session } = this.options
    session.start()
    const link = await session.online(signal)
    if ((link.welcome.features & features.storedFiles) !== 0) return link
    throw new OspError(
      'unsupported-version',
      'the server does not list or return files; it may be older than this client',
    )
  }

  /** As `askUntilAnswered`. */
  ask<K extends RequestName>(message: WireMessage<K>, signal: AbortSignal): Promise<WireMessage<AckOf<K>>> {
    const { platform, retryForMs } = this.options
    const online = () => this.online(signal)
    return askUntilAnswered({ platform, retryForMs, online }, message, signal)
  }

  /** Resolves with a stored file, with its digest if `needsDigest` is set. Rejects with OspError `no-such-file`. */
  async stat(name: string, needsDigest: boolean, signal: AbortSignal): Promise<FileInfo> {
    const flags = needsDigest ? statFlags.digest : 0
    return fileInfo(await this.ask({ event: 'StatFileReq', fileName: name, flags }, signal))
  }
}

/** The latest time that a Date can hold. */
const latestMs = 8.64e15

/** Returns a stored file of a reply. Throws OspError `malformed` if its name is not safe to show to users and programs. */
export function fileInfo({ fileName: name, digest: number, fileDigest, ...file }: WireFile): FileInfo {
  if (!isStoredFileName(name)) throw protocolViolation('the name of a stored file is not allowed')
  const { size, version } = file
  const [modifiedAt, storedAt] = [Math.min(file.modifiedAt, latestMs), Math.min(file.storedAt, latestMs)]
  const metadata = Object.fromEntries(file.metadata.map(({ key, value }) => [key, value]))
  const algorithm = digestNames.get(number)
  const digest = algorithm === undefined || fileDigest.length === 0 ? {} : { algorithm, digest: hex(fileDigest) }
  return { name, size, modifiedAt, storedAt, version, ...digest, metadata }
}

type WireFile = Omit<WireMessage<'StatFileAck'>, 'event'>
