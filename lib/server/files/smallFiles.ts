import { type ErrorCode, OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { Announcement, NewTransfer, QuotaPart, SettledFile, StoredFile } from '../../ports/storage.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOfParts, same } from '../../runtime/incrementalDigest.ts'
import { refusalFields } from '../../runtime/refusal.ts'
import { type MaybePromise, settleAll } from '../../runtime/settled.ts'
import { lengthOf, type Parts, Reader } from '../../wire/codec.ts'
import type { WireMessage } from '../../wire/message.ts'
import { type Connection, type ServerContext, sessionLinkOf } from '../app.ts'
import type { ConcurrencyLimiter } from '../connections/concurrencyLimiter.ts'
import { publicError } from '../publicError.ts'
import { announceAll, createAll } from './batchCalls.ts'
import { checkOpen, transferOf } from './fileDaemon.ts'
import type { FileNotices } from './fileNotices.ts'
import { finishVerified, type PlacedFile, publish, storedFields } from './publish.ts'
import type { Quota } from './quota.ts'
import { ReservationHolder, type ServerUpload } from './serverUpload.ts'
import type { StoredReports } from './storedReports.ts'
import { recordOf } from './unfinishedUploads.ts'
import type { UploadHooks } from './uploadHook.ts'
import type { UploadTable } from './uploadTable.ts'

type PutMessage = WireMessage<'PutFileReq'> | WireMessage<'PutFilesReq'>

/** A file of a request. */
type PutFile = WireMessage<'PutFilesReq'>['files'][number]

/** A file that has arrived. */
interface Arrived {
  readonly file: PutFile
  readonly content: Parts
  /** Its request, and its index there. */
  readonly request: PutRequest
  readonly index: number
}

/** A file whose content has the digest that its request states. */
interface Put extends Arrived {
  readonly want: NewTransfer
  readonly digest: string
}

/** A request, which is answered when each of its files is stored or refused. */
class PutRequest {
  readonly #answer: Deferred<WireMessage> = deferred()
  readonly #results: (StoredFile | OspError)[] = []
  #missing: number
  readonly event: PutMessage['event']
  readonly answer = this.#answer.promise

  constructor(event: PutMessage['event'], files: number) {
    this.event = event
    this.#missing = files
  }

  isAnswered(index: number): boolean {
    return this.#results[index] !== undefined
  }

  /** Records the result of a file. */
  settle(index: number, result: StoredFile | OspError): void {
    this.#results[index] = result
    if (--this.#missing === 0) this.#end()
  }

  #end(): void {
    const results = this.#results
    const [only] = results
    // These errors concern the link, not only a file.
    const fatal = results.find((result) => result instanceof OspError && linkErrors.has(result.code))
    if (fatal instanceof OspError) this.#answer.reject(fatal)
    else if (this.event === 'PutFilesReq') this.#answer.resolve(answerOf(results))
    else if (only instanceof OspError) this.#answer.reject(only)
    else if (only) this.#answer.resolve({ event: 'PutFileAck', ...storedFields(only) })
  }
}

const linkErrors: ReadonlySet<ErrorCode> = new Set(['malformed', 'link-lost'])

function answerOf(results: readonly (StoredFile | OspError)[]): WireMessage<'PutFilesAck'> {
  const stored: WireMessage<'PutFilesAck'>['stored'][number][] = []
  const refused: WireMessage<'PutFilesAck'>['refused'][number][] = []
  results.forEach((result, file) => {
    if (result instanceof OspError) refused.push({ file, ...refusalFields(result) })
    else stored.push(storedFields(result))
  })
  return { event: 'PutFilesAck', stored, refused }
}

/** The dependencies of SmallFiles. */
interface SmallFilesHost {
  readonly context: ServerContext
  readonly uploads: UploadTable
  readonly quota: Quota
  readonly limiter: ConcurrencyLimiter
  /** Logs the refusal if needed, and returns the error to send. */
  logRefusal(by: Connection, name: string, reason: unknown): OspError
  readonly reports: StoredReports
  readonly notices: FileNotices | undefined
  readonly hooks: UploadHooks | undefined
}

/**
 * Stores files that arrive whole in a PUT_FILE_REQ or a PUT_FILES_REQ (docs/protocol.md, "Files"). Such a file has no instance, no
 * record and no checkpoint: if it is interrupted, its client sends it again. Its completion marker is written before it is published,
 * so that a repetition finds it and a crash loses no report.
 *
 * The files of a link that have arrived are stored together, so that one change of the journal and one flush of a directory serve
 * all of them. Each has its own result.
 */
export class SmallFiles {
  readonly #host: SmallFilesHost
  /** The files of each link that wait to be stored. */
  readonly #arrived = new Map<Connection, Arrived[]>()

  constructor(host: SmallFilesHost) {
    this.#host = host
  }

  /** Handles PUT_FILE_REQ and PUT_FILES_REQ. */
  put(caller: Connection, message: PutMessage): Promise<WireMessage> {
    const isSingle = message.event === 'PutFileReq'
    const files = isSingle ? [message] : message.files
    if (files.length === 0 || files.length > fixed.smallFilesTogether)
      return Promise.reject(new OspError('malformed', `a request cannot have ${files.length} files`))
    const request = new PutRequest(message.event, files.length)
    const known = this.#arrived.get(caller)
    const arrived = known ?? []
    const contents = isSingle ? [message.content] : split(message.content, files)
    files.forEach((file, index) => {
      arrived.push({ file, content: contents[index] ?? [], request, index })
    })
    if (!known) {
      this.#arrived.set(caller, arrived)
      void this.#start(caller)
    }
    return request.answer
  }

  /** Starts to store the waiting files of a link in batches. */
  async #start(caller: Connection): Promise<void> {
    const arrived = this.#arrived.get(caller) ?? []
    const { limiter } = this.#host
    // Requests that were read from the socket together arrive in the same turn.
    await Promise.resolve()
    try {
      while (arrived.length > 0) {
        await limiter.enter(caller)
        const together = arrived.splice(0, batchSize(arrived))
        limiter.join(caller, together.length - 1)
        void this.#store(caller, together)
      }
    } catch (error) {
      for (const file of arrived) this.#refuse(caller, file, error)
    }
    this.#arrived.delete(caller)
  }

  async #store(caller: Connection, arrived: readonly Arrived[]): Promise<void> {
    const { limiter, uploads } = this.#host
    const puts = await this.#verified(caller, arrived)
    limiter.leave(caller, arrived.length - puts.length)
    const created: ServerUpload[] = []
    const together: Put[] = []
    const others: Put[] = []
    for (const put of puts) {
      const upload = uploads.createIfUnknown(put.want.user, put.want.name)
      if (upload) created.push(upload)
      ;(upload ? together : others).push(put)
    }
    const storing = uploads.runTogether(created, () => this.#settle(caller, together))
    // Files whose name has another request in progress wait for it; the rest of the batch does not.
    for (const put of others) void this.#storeNext(caller, put).finally(() => limiter.leave(caller))
    await storing
    limiter.leave(caller, together.length)
  }

  /** Stores a file after the earlier requests about its name. Ends an upload of its name. */
  async #storeNext(caller: Connection, put: Put): Promise<void> {
    const { uploads } = this.#host
    const { user, name } = put.want
    try {
      await uploads.run(user, name, async (upload) => {
        checkOpen(caller)
        if (upload.instance && !upload.heldBy(caller)) throw new OspError('file-busy')
        await uploads.end(upload, 'restarted', undefined, caller)
        await this.#settle(caller, [put])
      })
    } catch (error) {
      this.#refuse(caller, put, error)
    }
  }

  /** Checks files. Resolves with those that are valid, and refuses the others. */
  async #verified(caller: Connection, arrived: readonly Arrived[]): Promise<readonly Put[]> {
    const { context, hooks } = this.#host
    const { digests } = context.platform
    const puts: Put[] = []
    let loaded: StoredFile['algorithm'] | undefined
    const wants = await settleAll(arrived, (file) => {
      const want = this.#checked(caller, file)
      return hooks ? hooks.decided(want) : want
    })
    for (const [at, one] of arrived.entries()) {
      try {
        const { file, content, request, index } = one
        const want = wants[at] as (typeof wants)[number]
        if (want instanceof Error) throw want
        if (want.algorithm !== loaded) await digests.load(want.algorithm)
        loaded = want.algorithm
        puts.push({ file, content, request, index, want, digest: this.#digestOf(one, want.algorithm) })
      } catch (error) {
        this.#refuse(caller, one, error)
      }
    }
    return puts
  }

  #checked(caller: Connection, { file, content }: Arrived): NewTransfer {
    const { context, quota } = this.#host
    const want = transferOf(caller.user, file)
    if (file.size !== lengthOf(content))
      throw new OspError('malformed', 'the content does not have the size of the file')
    if (file.size > context.limits.smallFileBytes)
      throw new OspError('malformed', 'a file is too large for one request')
    quota.checkSize(want)
    this.#host.notices?.checkUnblocked(caller.user)
    return want
  }

  #digestOf({ content, file: { fileDigest } }: Arrived, algorithm: StoredFile['algorithm']): string {
    const own = digestOfParts(this.#host.context.platform.digests, algorithm, content)
    if (!same(own, fileDigest)) throw new OspError('digest-mismatch', undefined, { progress: 0 })
    return hex(own)
  }

  /** Stores files whose names are locked for this call. Answers their requests. */
  async #settle(caller: Connection, puts: readonly Put[]): Promise<void> {
    try {
      checkOpen(caller)
      const fresh: Put[] = []
      const { transfers } = this.#host.context.storage
      for (const put of puts) {
        const isNew = transfers.isUnknown?.(put.want.user, put.want.name) || !(await this.#answerStored(caller, put))
        if (isNew) fresh.push(put)
      }
      if (fresh.length > 0) await this.#storeAdmitted(caller, fresh)
    } catch (error) {
      for (const put of puts) this.#refuse(caller, put, error)
    }
  }

  /** Answers a request whose file is stored already. Resolves with false if it is not. */
  async #answerStored(caller: Connection, put: Put): Promise<boolean> {
    const { context, reports } = this.#host
    const { want, digest } = put
    try {
      const known = await context.storage.transfers.completed(want)
      if (known?.digest === digest) {
        reports.missed(known, caller)
        return answer(put, known)
      }
      // If a fault has interrupted the end of an upload, its file can be stored already.
      const record = await recordOf(context.storage, want.user, want.name)
      if (record?.verified?.digest !== digest) return false
      const finished = await finishVerified(context, record, caller)
      if (!finished) return false
      void reports.stored([finished])
      return finished.digest === digest && answer(put, finished)
    } catch (error) {
      this.#refuse(caller, put, error)
      return true
    }
  }

  #refuse(caller: Connection, { file, request, index }: Arrived, reason: unknown): void {
    if (request.isAnswered(index)) return
    const error = this.#host.logRefusal(caller, file.fileName, reason)
    // The session makes the error of a whole request public.
    const isPart = request.event === 'PutFilesReq'
    request.settle(index, isPart ? publicError(error, request.event, caller, this.#host.context) : error)
  }

  /**
   * Reserves space for the files and stores them. If they do not all fit, tries each half separately; a single file that does not
   * fit is refused.
   */
  async #storeAdmitted(caller: Connection, puts: readonly Put[]): Promise<void> {
    const { uploads, quota } = this.#host
    const holder = new ReservationHolder(caller.user)
    using _reservation = uploads.reserving(holder)
    const admitted = await quota.admitSmall(
      holder,
      puts.map(({ want }) => want),
    )
    if (!(admitted instanceof OspError)) return await this.#writeAndPublish(caller, puts, holder, admitted)
    holder.reserved = undefined
    const [only] = puts
    if (only && puts.length === 1) return this.#refuse(caller, only, admitted)
    // Part of the batch may still fit.
    const half = Math.ceil(puts.length / 2)
    await this.#storeAdmitted(caller, puts.slice(0, half))
    await this.#storeAdmitted(caller, puts.slice(half))
  }

  /** Writes the files durably, announces and publishes them, and answers their requests. Ends their reservation. */
  async #writeAndPublish(
    by: Connection,
    puts: readonly Put[],
    holder: ReservationHolder,
    adds: readonly QuotaPart[],
  ): Promise<void> {
    const settled = await this.#announceAndPublish(by, puts, holder, adds)
    // Another server then knows that these files need not be kept from being published.
    if (settled.length > 0) await this.#host.context.storage.transfers.settled?.(settled)
  }

  /** Resolves with the announced files that have a source. */
  async #announceAndPublish(
    by: Connection,
    puts: readonly Put[],
    holder: ReservationHolder,
    adds: readonly QuotaPart[],
  ): Promise<readonly SettledFile[]> {
    const { context, quota, reports } = this.#host
    const { storage, limits } = context
    checkOpen(by)
    const contents = puts.map(({ content }) => content)
    const times = puts.map(({ file }) => file.modifiedAt)
    await using created = await createAll(storage.files, by.user, contents, times)
    const written: { readonly put: Put; readonly index: number; readonly version: string }[] = []
    puts.forEach((put, index) => {
      const version = created.versions[index]
      if (typeof version === 'string') written.push({ put, index, version })
      else this.#refuse(by, put, version)
    })
    const announcement = ({ index, file }: PlacedFile): Announcement => {
      const { version, put, index: at } = written[index] as (typeof written)[number]
      const source = created.sources?.[at]
      const { modifiedAt, metadata } = put.want
      const announced = { file, version, modifiedAt, ...(metadata && { metadata }) }
      return source === undefined ? announced : { ...announced, source, ...(adds[at] && { adds: adds[at] }) }
    }
    const results = await publish(context, {
      files: written.map(({ put }) => fileOf(put)),
      storeAs: written.map(({ put }) => put.want.storeAs),
      by,
      mark: async (tried) => {
        const [announced, room] = [tried.map(announcement), quota.roomOf(by.user)]
        const names = announced.map(({ file }) => file)
        const errors = await reports.afterEarlier(names, () =>
          announceAll(storage.transfers, announced, limits.noteMs, sessionLinkOf(by), room),
        )
        return settleAll(tried, ({ index }, at): MaybePromise<Error | undefined> => {
          const { put, index: among } = written[index] as (typeof written)[number]
          return errors[at] ?? quota.checkAdds(put.want, adds[among] as QuotaPart)
        })
      },
      move: (tried, replace) => {
        const places = tried.map(({ index, file: { storedName } }) => ({
          index: written[index]?.index ?? 0,
          storedName,
        }))
        return created.publish(places, replace)
      },
    })
    holder.reserved = undefined
    const published = results.flatMap((result, at) =>
      result instanceof Error ? [] : { ...result, version: (written[at] as (typeof written)[number]).version },
    )
    void reports.stored(published)
    written.forEach(({ put }, index) => {
      const result = results[index]
      if (!result || result instanceof Error) this.#refuse(by, put, result)
      else answer(put, result)
    })
    return written.flatMap(({ put: { want }, index }, at) => {
      const source = created.sources?.[index]
      const isStored = !(results[at] instanceof Error)
      return source === undefined ? [] : [{ user: want.user, name: want.name, source, isStored }]
    })
  }
}

/** Records that a file is stored. */
function answer({ request, index }: Put, file: StoredFile): true {
  request.settle(index, file)
  return true
}

/** Splits the content of a request into those of its files. Throws OspError `malformed` if the sizes do not add up. */
function split(content: Parts, files: readonly PutFile[]): readonly Parts[] {
  const reader = new Reader(content)
  const contents = files.map(({ size }) => [reader.take(size)])
  if (reader.left > 0) throw new OspError('malformed', 'the content is longer than the files')
  return contents
}

/**
 * Returns the size of the next batch: at least one file, and no more than `smallFilesTogether` files or `smallBytesTogether`
 * bytes.
 */
function batchSize(arrived: readonly Arrived[]): number {
  let bytes = 0
  let count = 0
  for (const { file } of arrived) {
    bytes += file.size
    if (count > 0 && (count >= fixed.smallFilesTogether || bytes > fixed.smallBytesTogether)) break
    count++
  }
  return count
}

function fileOf({ want: { user, name, size, algorithm }, digest }: Put): StoredFile {
  return { user, name, storedName: name, replaced: false, size, algorithm, digest }
}
