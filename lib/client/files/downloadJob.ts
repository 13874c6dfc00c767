import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { FileTarget, OpenTarget } from '../../ports/target.ts'
import { hex } from '../../runtime/hex.ts'
import { IncrementalDigest } from '../../runtime/incrementalDigest.ts'
import { lengthOf } from '../../wire/codec.ts'
import { protocolViolation } from '../connection/session.ts'
import type { ClientDownload } from './download.ts'
import type { FileInfo, FileReference, FileRequests } from './fileRequests.ts'
import { type FileChunk, ReadAhead } from './readAhead.ts'

export interface DownloadJobOptions {
  readonly requests: FileRequests
  readonly download: ClientDownload
  /** The file as the caller knows it. If it has a digest, the server is not asked for it. */
  readonly known: FileInfo | undefined
  /** The reference to the file, if it belongs to another user. */
  readonly reference: FileReference | undefined
  /** The only version to accept. Otherwise a replaced file is downloaded again from the start. */
  readonly version: string | undefined
  readonly signal: AbortSignal
}

/** A stored file with its digest. */
type DigestedFile = FileInfo & { readonly algorithm: DigestName; readonly digest: string }

/** Downloads one file: to a target, in several attempts, or as an iterable. */
export class DownloadJob {
  readonly #options: DownloadJobOptions
  #known: FileInfo | undefined
  #versionTries = 0
  #digestTries = 0

  constructor(options: DownloadJobOptions) {
    this.#options = options
    this.#known = options.known
  }

  /** Writes the file to a target. Never rejects. */
  async save(target: () => Promise<FileTarget>): Promise<void> {
    const { download } = this.#options
    try {
      const opened = await target()
      let file: FileInfo | undefined
      while (!file) file = await this.#saved(opened).catch((error: unknown) => this.#recover(OspError.from(error)))
      download.stored(file)
    } catch (error) {
      download.fail(this.#final(error))
    }
  }

  /** Yields the content from `offset`. It can be verified only if `offset` is 0. */
  async *content(offset: number): AsyncGenerator<Uint8Array> {
    const { download } = this.#options
    try {
      const file = await this.#file()
      const { digests } = this.#platform
      if (offset > file.size) {
        throw new OspError('usage', `${file.name} has ${file.size} bytes; the offset ${offset} is beyond its end`)
      }
      const digest = offset === 0 ? digests.create(file.algorithm) : undefined
      download.setProgress(offset, file.size)
      for await (const chunk of this.#chunks(file, offset)) {
        for (const part of chunk.content) digest?.update(part)
        yield* chunk.content
        this.#arrived(chunk, file)
      }
      download.move('receive')
      download.move('verify')
      if (digest && hex(digest.digest()) !== file.digest) throw mismatch(file)
      download.stored(file)
    } catch (error) {
      const failure = this.#final(error)
      download.fail(failure)
      throw failure
    }
  }

  /** Resolves with a file that was saved. */
  async #saved(target: FileTarget): Promise<FileInfo> {
    const file = await this.#file()
    const { download, signal } = this.#options
    signal.throwIfAborted()
    const { digests } = this.#platform
    const open = await target.open(file, digests)
    if (!open) return file
    await using owned = open
    const read = (into: Uint8Array, offset: number) => owned.read(into, offset)
    const digest = new IncrementalDigest({ digests, algorithm: file.algorithm, read })
    const { keptBytes } = owned
    download.setProgress(keptBytes, file.size)
    // In parallel with the download. If it fails, the bytes are read again at the end, where the failure is reported.
    if (keptBytes > 0) digest.catchUp(keptBytes).catch(() => {})
    for await (const chunk of this.#chunks(file, keptBytes)) {
      await writeChunk(owned, digest, chunk)
      this.#arrived(chunk, file)
      chunk.release?.()
    }
    download.move('receive')
    download.move('verify')
    await digest.catchUp(file.size)
    if (hex(digest.now()) !== file.digest) {
      await owned.discard()
      throw mismatch(file)
    }
    await owned.commit()
    return file
  }

  /** Resolves with the file, with a digest that this platform can compute. */
  async #file(): Promise<DigestedFile> {
    const { requests, download, version, reference, signal } = this.#options
    const known = reference ? { ...reference, storedAt: 0 } : this.#known
    const file = known?.digest === undefined ? await requests.stat(download.name, true, signal) : known
    const { algorithm, digest } = file
    if (algorithm === undefined || digest === undefined) throw protocolViolation('it did not send the digest of a file')
    if (version !== undefined && file.version !== version) throw new OspError('version-changed')
    await this.#platform.digests.load(algorithm)
    return { ...file, algorithm, digest }
  }

  #chunks(file: FileInfo, offset: number): AsyncGenerator<FileChunk> {
    const { requests, download, reference, signal } = this.#options
    const stalled = (error: OspError) => download.move('stall', error)
    return new ReadAhead({ requests, file, reference, signal, stalled }, offset).chunks()
  }

  #arrived({ offset, content }: FileChunk, { size }: FileInfo): void {
    const { download } = this.#options
    const bytes = lengthOf(content)
    download.transferred += bytes
    download.move('receive')
    download.setProgress(offset + bytes, size)
  }

  /** Prepares the next attempt. Throws `error` if it is final. */
  #recover(error: OspError): undefined {
    const { version, download } = this.#options
    const isChanged = error.code === 'version-changed' && version === undefined && !this.#options.reference
    if (isChanged && ++this.#versionTries > clientLimits.versionTries) throw error
    const isWrong = error.code === 'digest-mismatch'
    if (isWrong && ++this.#digestTries > clientLimits.digestTries) throw error
    if (!isChanged && !isWrong) throw error
    this.#known = undefined
    download.move('stall', error)
    return undefined
  }

  #final(error: unknown): OspError {
    const { signal, download } = this.#options
    if (signal.aborted) return new OspError('closed', `the download of ${download.name} was aborted`)
    return OspError.from(error)
  }

  get #platform() {
    return this.#options.requests.options.platform
  }
}

/**
 * Writes a chunk and adds it to the digest: at the same time, unless the digest must first read earlier bytes from the target.
 */
async function writeChunk(
  target: OpenTarget,
  digest: IncrementalDigest,
  { offset, content }: FileChunk,
): Promise<void> {
  const writing = target.write(content, offset)
  if (digest.position === offset) digest.follow(offset, content)
  await writing
  digest.follow(offset, content)
}

const mismatch = ({ name }: FileInfo) =>
  new OspError('digest-mismatch', `the received content of ${name} does not match the digest of the file`)
