import type { Request } from '../../core/link.ts'
import { textsOf } from '../../core/metadata.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { checkFileName, checkStoredName } from '../../names.ts'
import type { Catalogue, CatalogueEntry } from '../../ports/catalogue.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { EarlierFiles } from '../../runtime/earlierFiles.ts'
import { bytesOfHex } from '../../runtime/hex.ts'
import { KeyedMutex } from '../../runtime/mutex.ts'
import type { WireMessage } from '../../wire/message.ts'
import { digestNumbers, renameFlags, statFlags } from '../../wire/protocol.ts'
import { type Connection, type ServerContext, sessionLinkOf } from '../app.ts'
import { ConcurrencyLimiter } from '../connections/concurrencyLimiter.ts'
import { costs } from '../connections/requestCost.ts'
import { linkOf } from '../serverLog.ts'
import { checkOpen } from './fileDaemon.ts'
import { FileReaders } from './fileReaders.ts'
import type { Grants } from './grants.ts'
import type { Quota } from './quota.ts'
import { ReservationHolder } from './serverUpload.ts'
import type { StoredReports } from './storedReports.ts'
import { recordOf } from './unfinishedUploads.ts'
import type { UploadTable } from './uploadTable.ts'

/** The requests about stored files. */
export type StoredFileRequest = WireMessage<
  'ListFilesReq' | 'StatFileReq' | 'RemoveFileReq' | 'RenameFileReq' | 'ReadFileReq'
>

/** The parts of a server that these requests use. */
interface StoredFileParts {
  readonly grants: Grants
  readonly uploads: UploadTable
  readonly quota: Quota
  readonly reports: StoredReports
}

/**
 * Answers the requests about stored files (docs/protocol.md, "Stored files"). Users have access to their own files, and can read
 * other files with a reference.
 */
export class StoredFileRequests {
  readonly #context: ServerContext
  readonly #catalogue: Catalogue
  readonly #uploads: UploadTable
  readonly #quota: Quota
  readonly #reports: StoredReports
  readonly #readers: FileReaders
  readonly #limiter = new ConcurrencyLimiter()
  readonly #lists = new KeyedMutex()
  readonly #memory: ReadMemory
  readonly #grants: Grants
  /** The replies with content that are not sent yet, by link. */
  readonly #unsent = new Map<Connection, Set<Deferred<void>>>()

  constructor(context: ServerContext, catalogue: Catalogue, { grants, uploads, quota, reports }: StoredFileParts) {
    this.#context = context
    this.#catalogue = catalogue
    this.#uploads = uploads
    this.#quota = quota
    this.#reports = reports
    this.#readers = new FileReaders(context, catalogue, uploads)
    this.#grants = grants
    this.#memory = new ReadMemory(context.limits.readMemoryBytes)
  }

  /** Resolves with the reply, or with `undefined` when a reply with content was sent. */
  handle(caller: Connection, request: Request, message: StoredFileRequest): Promise<WireMessage | undefined> {
    return this.#limiter.run(caller, async () => {
      checkOpen(caller)
      switch (message.event) {
        case 'ListFilesReq':
          return this.#list(caller, message)
        case 'StatFileReq':
          return this.#stat(caller, message)
        case 'RemoveFileReq':
          return this.#remove(caller, message)
        case 'RenameFileReq':
          return this.#rename(caller, message)
        case 'ReadFileReq':
          return this.#read(caller, request, message)
      }
    })
  }

  get openFiles(): number {
    return this.#readers.size
  }

  get readBytes(): number {
    return this.#memory.usedBytes
  }

  lost(caller: Connection): void {
    this.#limiter.lost(caller)
    this.#readers.lost(caller)
    for (const sent of this.#unsent.get(caller) ?? []) sent.resolve()
  }

  /** Ends the reading of the former content of a file. */
  replaced(user: string, name: string): void {
    this.#readers.forget(user, name)
  }

  close(): Promise<void> {
    return this.#readers.close()
  }

  /** Lists files. Lists of one user run one after another, since each can take a long time. */
  async #list(by: Connection, { prefix, after, most }: WireMessage<'ListFilesReq'>): Promise<WireMessage> {
    const { user } = by
    const { listedFiles, listedBytes } = fixed
    const wanted = most === 0 ? listedFiles : Math.min(most, listedFiles)
    const page = await this.#lists.run(user, () => this.#catalogue.list(user, { prefix, after, most: wanted }))
    by.charge(costs.listed(page.files.length, page.looked))
    const files: ReturnType<typeof wireOf>[] = []
    let bytes = 0
    for (const entry of page.files) {
      bytes += sizeOf(entry)
      if (files.length > 0 && bytes > listedBytes) return { event: 'ListFilesAck', files, more: 1 }
      files.push(wireOf(entry))
    }
    return { event: 'ListFilesAck', files, more: page.more ? 1 : 0 }
  }

  async #stat({ user }: Connection, { fileName, flags }: WireMessage<'StatFileReq'>): Promise<WireMessage> {
    const name = checkStoredName(fileName)
    const entry = await this.#catalogue.find(user, name, (flags & statFlags.digest) !== 0)
    if (!entry) throw new OspError('no-such-file')
    return { event: 'StatFileAck', ...wireOf(entry) }
  }

  async #remove(by: Connection, { fileName, version }: WireMessage<'RemoveFileReq'>): Promise<WireMessage> {
    const name = checkStoredName(fileName)
    const { user } = by
    const isRemoved = await this.#change(user, [name], async () => {
      checkOpen(by)
      this.#checkNotReserved(user, name)
      return this.#catalogue.remove(user, name, version || undefined, sessionLinkOf(by))
    })
    this.#readers.forget(user, name)
    if (isRemoved) this.#context.log({ level: 'info', event: 'file-removed', ...linkOf(by), name })
    return { event: 'RemoveFileAck', removed: isRemoved ? 1 : 0 }
  }

  async #rename(by: Connection, message: WireMessage<'RenameFileReq'>): Promise<WireMessage> {
    const name = checkStoredName(message.fileName)
    const newName = checkFileName(message.newName)
    const version = message.version || undefined
    const replace = (message.flags & renameFlags.replace) !== 0
    const isReplaced = await this.#change(by.user, [name, newName], async () => {
      checkOpen(by)
      this.#checkNotReserved(by.user, name, newName)
      const holder = new ReservationHolder(by.user)
      using _ = this.#uploads.reserving(holder)
      await this.#quota.admitRename(holder, name, newName)
      return await this.#catalogue.rename(by.user, name, newName, { version, replace, by: sessionLinkOf(by) })
    })
    this.#readers.forget(by.user, name)
    const replaced = isReplaced ? { replaced: true } : undefined
    this.#context.log({ level: 'info', event: 'file-renamed', ...linkOf(by), name, newName, ...replaced })
    return { event: 'RenameFileAck', replaced: isReplaced ? 1 : 0 }
  }

  /**
   * Makes a change after the earlier requests about these names. First completes verified uploads that a fault has left incomplete:
   * otherwise their files would count as lost, and would not be reported.
   */
  async #change<T>(user: string, names: readonly string[], make: () => Promise<T>): Promise<T> {
    try {
      return await this.#runAll(user, names, make)
    } catch (error) {
      if (!(error instanceof EarlierFiles)) throw error
      for (const { name } of error.unfinished) await this.#complete(user, name)
      return await this.#runAll(user, names, make)
    }
  }

  async #complete(user: string, name: string): Promise<void> {
    await this.#uploads.run(user, name, async () => {
      const record = await recordOf(this.#context.storage, user, name)
      const file = record?.verified && (await this.#reports.finish(record))
      if (file) void this.#reports.stored([file])
    })
  }

  /** Locks the names in sorted order, so that no two jobs wait for each other. */
  #runAll<T>(user: string, names: readonly string[], job: () => Promise<T>): Promise<T> {
    const [first, ...others] = [...new Set(names)].sort()
    if (first === undefined) return job()
    return this.#uploads.run(user, first, () => this.#runAll(user, others, job))
  }

  /** Throws `file-busy` while the quota reservation of an upload may assume that it replaces the file of one of these names. */
  #checkNotReserved(user: string, ...names: readonly string[]): void {
    for (const { user: other, reserved, name, storeAs } of this.#uploads.receiving()) {
      if (other === user && reserved && (names.includes(name) || names.includes(storeAs)))
        throw new OspError('file-busy', 'a file of this name is being uploaded')
    }
  }

  /** Resolves when the bytes of the reply have left, so that a link has a limited number of them in memory. */
  async #read(by: Connection, request: Request, message: WireMessage<'ReadFileReq'>): Promise<undefined> {
    const { fileName, version, offset, length } = message
    const name = checkStoredName(fileName)
    const owner = await this.#grants.ownerOf(by.user, message)
    const most = await this.#memory.take(by, Math.max(1, Math.min(length, this.#uploads.grantedChunk())))
    const sent = deferred<void>()
    const unsent = this.#unsent.get(by) ?? new Set()
    this.#unsent.set(by, unsent.add(sent))
    try {
      checkOpen(by)
      const into = this.#memory.buffer(most)
      const bytes = await this.#readers.read(by, { owner, name, version }, into.subarray(0, most), offset)
      checkOpen(by)
      by.charge(costs.read(bytes))
      by.reply(request, { event: 'ReadFileAck', offset, content: [into.subarray(0, bytes)] }, () => {
        this.#memory.reuse(into)
        sent.resolve()
      })
      await sent.promise
    } finally {
      unsent.delete(sent)
      if (unsent.size === 0) this.#unsent.delete(by)
      this.#memory.give(by, most)
    }
    return undefined
  }
}

/** The number of buffers that are kept for reuse, and the length of each. Shorter content gets memory of its own. */
const keptBuffers = 16
const keptBytes = 1 << 20

/** A request that waits for memory. */
interface WaitingRead {
  readonly by: Connection
  readonly bytes: number
  readonly turn: Deferred<number>
}

/**
 * Limits the memory of all replies with content. While it is exhausted, a link without such a reply still gets
 * `fixed.shortReadBytes`, so that clients that do not read their replies do not block the others.
 */
class ReadMemory {
  readonly #totalBytes: number
  readonly #waiting = new Set<WaitingRead>()
  /** The number of replies of each link that have memory. */
  readonly #replies = new Map<Connection, number>()
  readonly #free: Uint8Array[] = []
  usedBytes = 0

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes
  }

  /** Resolves with the number of bytes that the reply may have, at most `bytes`. */
  async take(by: Connection, bytes: number): Promise<number> {
    if (this.#waiting.size === 0 && this.#fits(bytes)) return this.#grant(by, bytes)
    if (!this.#replies.has(by)) return this.#grant(by, Math.min(bytes, fixed.shortReadBytes))
    const turn = deferred<number>()
    this.#waiting.add({ by, bytes, turn })
    return await turn.promise
  }

  /** Returns the memory of a reply that was sent. */
  give(by: Connection, bytes: number): void {
    this.usedBytes -= bytes
    const left = (this.#replies.get(by) ?? 1) - 1
    if (left > 0) this.#replies.set(by, left)
    else this.#replies.delete(by)
    for (const waiting of this.#waiting) {
      if (this.#fits(waiting.bytes)) this.#start(waiting, waiting.bytes)
      else if (this.#replies.has(by)) return
      else if (waiting.by === by) this.#start(waiting, Math.min(waiting.bytes, fixed.shortReadBytes))
    }
  }

  buffer(bytes: number): Uint8Array {
    if (bytes < keptBytes / 2 || bytes > keptBytes) return new Uint8Array(bytes)
    return this.#free.pop() ?? new Uint8Array(keptBytes)
  }

  reuse(buffer: Uint8Array): void {
    if (buffer.length === keptBytes && this.#free.length < keptBuffers) this.#free.push(buffer)
  }

  #start(waiting: WaitingRead, bytes: number): void {
    this.#waiting.delete(waiting)
    waiting.turn.resolve(this.#grant(waiting.by, bytes))
  }

  #grant(by: Connection, bytes: number): number {
    this.usedBytes += bytes
    this.#replies.set(by, (this.#replies.get(by) ?? 0) + 1)
    return bytes
  }

  #fits(bytes: number): boolean {
    return this.usedBytes === 0 || this.usedBytes + bytes <= this.#totalBytes
  }
}

function wireOf({ name, digest, algorithm, metadata, ...entry }: CatalogueEntry) {
  return {
    ...entry,
    fileName: name,
    digest: algorithm ? digestNumbers[algorithm] : 0,
    fileDigest: digest === undefined ? new Uint8Array() : bytesOfHex(digest),
    metadata: textsOf(metadata),
  }
}

/** Returns an upper bound of the size of an entry on the wire. */
function sizeOf({ name, version, metadata }: CatalogueEntry): number {
  let characters = name.length + version.length
  for (const [key, value] of Object.entries(metadata)) characters += key.length + value.length + 4
  return 4 * characters + 100
}
