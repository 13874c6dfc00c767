import type { Instance } from '../../core/pool.ts'
import { OspError } from '../../errors.ts'
import type { Catalogue, OpenFile } from '../../ports/catalogue.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { FileState } from './serverUpload.ts'
import type { ReaderEnd, UploadTable } from './uploadTable.ts'

/** Time without a request after which a file is closed. */
const unusedMs = 10_000

/** A version of a stored file. */
interface ReadVersion {
  readonly owner: string
  readonly name: string
  readonly version: string
}

interface Reader extends Pick<ReadVersion, 'owner' | 'name'> {
  readonly by: Connection
  readonly file: OpenFile
  readonly instance: Instance<FileState>
  usedAtMs: number
  /** The number of reads that have not ended. */
  reading: number
  isClosed: boolean
}

/**
 * The stored files that are open for reading, each with an instance in the state SEND_FILE. A file that is read in one request is
 * closed at once and needs no instance. The least recently used reader is closed to make room for another one of its user or, if
 * there is no idle instance, for an upload.
 */
export class FileReaders {
  readonly #context: ServerContext
  readonly #catalogue: Catalogue
  readonly #uploads: UploadTable
  /** In the order in which they were used. */
  readonly #readers = new Set<Reader>()
  readonly #alarm: Alarm
  /** The reads, and the files that are being closed. */
  readonly #pending = new PendingWork()

  constructor(context: ServerContext, catalogue: Catalogue, uploads: UploadTable) {
    this.#context = context
    this.#catalogue = catalogue
    this.#uploads = uploads
    this.#alarm = new Alarm(context.platform.clock, () => this.#sweep())
    uploads.onNoIdle = () => this.#giveWay(() => true)
  }

  get size(): number {
    return this.#readers.size
  }

  /** Reads from a version of a file, at most `into.length` bytes. Resolves with the number of bytes. */
  read(...given: [by: Connection, wanted: ReadVersion, into: Uint8Array, offset: number]): Promise<number> {
    const reading = this.#read(...given)
    this.#pending.track(reading)
    return reading
  }

  async #read(by: Connection, wanted: ReadVersion, into: Uint8Array, offset: number): Promise<number> {
    const reader = this.#find(by, wanted) ?? (await this.#open(by, wanted, offset === 0 ? into.length : 0))
    if ('whole' in reader) {
      await using file = reader.whole
      return await file.read(into, offset)
    }
    this.#use(reader)
    reader.reading++
    try {
      return await reader.file.read(into, offset)
    } finally {
      reader.reading--
      this.#use(reader)
      if (!reader.isClosed) this.#alarm.by(reader.usedAtMs + unusedMs)
      else if (reader.reading === 0) await this.#closeFile(reader)
    }
  }

  /** Closes the readers of a link. */
  lost(by: Connection): void {
    for (const reader of [...this.#readers]) if (reader.by === by) this.#close(reader, 'linkLost')
  }

  /** Closes the readers of a file, which was replaced, removed or renamed. */
  forget(user: string, name: string): void {
    for (const reader of [...this.#readers]) {
      if (reader.owner === user && reader.name === name) this.#close(reader, 'unused')
    }
  }

  /** Resolves when all files are closed. */
  close(): Promise<void> {
    this.#alarm.stop()
    for (const reader of [...this.#readers]) this.#close(reader, 'shutDown')
    return this.#pending.settled()
  }

  #find(by: Connection, { owner, name, version }: ReadVersion): Reader | undefined {
    for (const reader of this.#readers) {
      const isSame = reader.by === by && reader.owner === owner && reader.name === name
      if (isSame && reader.file.version === version) return reader
    }
    return undefined
  }

  /** Opens a file. If it has at most `most` bytes, returns the file itself, which the caller closes. */
  async #open(by: Connection, wanted: ReadVersion, most: number): Promise<Reader | { whole: OpenFile }> {
    const { owner, name, version } = wanted
    const file = await this.#catalogue.open(owner, name)
    if (!file) throw new OspError(owner === by.user ? 'no-such-file' : 'gone')
    try {
      if (file.version !== version)
        throw new OspError(
          owner === by.user ? 'version-changed' : 'gone',
          owner === by.user ? undefined : 'the file was replaced',
        )
      if (file.size <= most) return { whole: file }
      // Another request of the link may have opened it meanwhile.
      const known = this.#find(by, wanted)
      const reader = known ?? this.#add(by, wanted, file)
      if (known) await file[Symbol.asyncDispose]()
      return reader
    } catch (error) {
      await file[Symbol.asyncDispose]()
      throw error
    }
  }

  #add(by: Connection, { owner, name }: ReadVersion, file: OpenFile): Reader {
    if (!by.open) throw new OspError('link-lost')
    const { uploadsPerLink, uploadsPerUser } = this.#context.limits
    const ofLink = (reader: Reader) => reader.by === by
    const ofUser = (reader: Reader) => reader.by.user === by.user
    const isFull = this.#count(ofLink) >= uploadsPerLink || this.#count(ofUser) >= uploadsPerUser
    if (isFull && !this.#giveWay(ofLink) && !this.#giveWay(ofUser)) throw new OspError('too-many-uploads')
    const instance = this.#uploads.assignReader(by)
    const usedAtMs = this.#context.platform.clock.now()
    const reader = { by, owner, name, file, instance, usedAtMs, reading: 0, isClosed: false }
    this.#readers.add(reader)
    this.#alarm.by(usedAtMs + unusedMs)
    return reader
  }

  #count(isMeant: (reader: Reader) => boolean): number {
    let count = 0
    for (const reader of this.#readers) if (isMeant(reader)) count++
    return count
  }

  /** Closes the least recently used of these readers. Returns whether there was one. */
  #giveWay(isMeant: (reader: Reader) => boolean): boolean {
    for (const reader of this.#readers) {
      if (reader.reading > 0 || !isMeant(reader)) continue
      this.#close(reader, 'unused')
      return true
    }
    return false
  }

  #use(reader: Reader): void {
    reader.usedAtMs = this.#context.platform.clock.now()
    if (!this.#readers.delete(reader)) return
    this.#readers.add(reader)
  }

  #sweep(): void {
    const now = this.#context.platform.clock.now()
    for (const reader of [...this.#readers]) {
      if (reader.reading > 0) continue
      const untilMs = reader.usedAtMs + unusedMs
      if (untilMs > now) {
        this.#alarm.by(untilMs)
        return
      }
      this.#close(reader, 'unused')
    }
  }

  #close(reader: Reader, end: ReaderEnd): void {
    this.#readers.delete(reader)
    reader.isClosed = true
    this.#uploads.releaseReader(reader.instance, end)
    if (reader.reading === 0) this.#pending.track(this.#closeFile(reader))
  }

  async #closeFile({ by, name, file }: Reader): Promise<void> {
    try {
      await file[Symbol.asyncDispose]()
    } catch (error) {
      const { message: text } = OspError.from(error)
      this.#context.log({ level: 'warn', event: 'file-not-closed', user: by.user, name, text })
    }
  }
}
