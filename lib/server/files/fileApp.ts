import type { Request } from '../../core/link.ts'
import { WindowCounter } from '../../core/windowCounter.ts'
import { type ErrorCode, errors, OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { Claim, ClaimEnd, FileNotice, StoredFile, TransferRecord, VersionedFile } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import type { WireMessage } from '../../wire/message.ts'
import type { Connection, ServerApp, ServerContext } from '../app.ts'
import { ConcurrencyLimiter } from '../connections/concurrencyLimiter.ts'
import { DamageReporter } from '../damageReporter.ts'
import type { ServerEntry } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'
import type { DiskSpace } from './diskSpace.ts'
import { FileDaemon } from './fileDaemon.ts'
import { FileNotices, type NoticeHost, type NotifyRule, noticeOf } from './fileNotices.ts'
import { Grants } from './grants.ts'
import { finishVerified, removeUpload, storedFields } from './publish.ts'
import { Quota } from './quota.ts'
import type { ServerUpload } from './serverUpload.ts'
import { SmallFiles } from './smallFiles.ts'
import { StoredFileRequests } from './storedFileRequests.ts'
import { handlerMailbox, StoredFileCalls, type StoredFileHandler } from './storedHandler.ts'
import { StoredReports } from './storedReports.ts'
import { recordOf, UnfinishedUploads } from './unfinishedUploads.ts'
import { type UploadHook, UploadHooks } from './uploadHook.ts'
import { UploadTable } from './uploadTable.ts'

/*
 * How an upload reaches the disk
 *
 * Requests. START_POST_FILE_REQ opens a new upload, and CONTINUE_POST_FILE_REQ one that was paused or interrupted. The reply
 * grants an instance. Chunks (POST_FILE_REQ) follow; each ACK says how many leading bytes are written (`progress`) and how many
 * survive a crash (`durable`). FILE_MD5_REQ ends the upload with the digest of the whole file.
 *
 * Files. `FileApp` receives the requests. `FileDaemon` is instance 0: it opens and cancels. `UploadTable` has the open uploads and
 * assigns instances. `ServerUpload` owns the state of one upload, `Transfer` its bytes, and `publishUpload` names the file.
 *
 * Hook. `UploadHooks` asks `onUpload` before an upload is claimed. The record keeps the name under which the file is to be stored, so
 * that an upload that continues after a crash gets the same name. The upload is identified by the name that the client has sent.
 *
 * Queue. All requests about one (user, name) run one at a time, in the queue of its `ServerUpload`. Chunks that wait together are
 * written together. A chunk whose offset is not the progress writes nothing, and its ACK contains the true progress, so a client
 * can always resynchronize.
 *
 * Instances. An instance is a slot of a fixed pool, held by one link. `UploadBounds` limits the slots of a link and of a user;
 * `FairScheduler` keeps idle slots for users who hold fewer; a stalled upload yields its slot. A lost or paused upload stays open
 * without a slot for a while (parked). If another link of the user takes a slot over, the next request of the former link fails
 * with `superseded`. A link does not get a slot that it has lost until its old chunks can no longer arrive.
 *
 * Claims. Opening an upload claims its record in storage. A claim fences out the former owner: its writes fail from then on. In a
 * store of several servers, another server can claim an upload that is parked here, so continuing it may mean to open it again.
 *
 * Checkpoints. A checkpoint flushes the partial file, then records offset and digest. After a restart the upload continues at the
 * last one, while the digest of the bytes before it is computed again. If that disagrees with a recorded digest, the upload goes
 * back to the last checkpoint that agrees.
 *
 * Verification. If the digest equals the client's, the file is flushed and published. If not, the upload starts again at 0. A
 * flush that has failed once is never trusted: the transfer is closed and opened again.
 *
 * Publishing. The record is marked as verified under the final name, the partial file is moved there, the record becomes a
 * completion marker, and the log gets a line. Only then does the client get the reply. Each step can be repeated: after a crash
 * or a fault, the server finishes verified uploads, and a client that sends the digest again finds the marker.
 *
 * Small files. PUT_FILE_REQ carries a whole file, which needs neither an instance nor a record. `SmallFiles` writes its bytes,
 * then its completion marker, and then publishes it. The marker applies once the file has its name, so after a crash there is
 * either nothing or a stored file that `recover` reports.
 *
 * Space. `Quota` and `DiskSpace` admit an upload only if all of it fits, and count it as reserved while it runs.
 */

/** Storage errors that are logged although their text reveals nothing about this machine. */
const loggedFailures: readonly ErrorCode[] = ['disk-full', 'internal']

/** Errors of a recovery that another server of a shared storage carries out. */
const elsewhere: readonly ErrorCode[] = ['superseded', 'file-busy', 'link-lost']

/** Time in which the same failure of an upload is logged once. */
const failureMs = 3_600_000

/** How messages about files are sent, and the recipients of those about every file. */
interface FileExchange extends Pick<NoticeHost, 'mail'> {
  readonly notify?: readonly NotifyRule[] | undefined
  readonly onStored?: StoredFileHandler | undefined
  readonly onUpload?: UploadHook | undefined
}

/** App 1: receives files. Its daemon opens and cancels uploads. Each ordinary instance receives one upload. */
export class FileApp implements ServerApp {
  readonly uploads: UploadTable
  readonly unfinished: UnfinishedUploads
  readonly #context: ServerContext
  readonly #quota: Quota
  readonly #daemon: FileDaemon
  readonly #smallFiles: SmallFiles
  /** Missing if the storage has no catalogue. */
  readonly #storedFiles: StoredFileRequests | undefined
  /** Missing if the storage has no catalogue. */
  readonly #notices: FileNotices | undefined
  /** Missing without `onStored`, or if the storage has no catalogue. */
  readonly storedFileCalls: StoredFileCalls | undefined
  readonly #hooks: UploadHooks | undefined
  readonly #reports: StoredReports
  readonly #limiter = new ConcurrencyLimiter()
  readonly #damages: DamageReporter
  readonly #failures = new WindowCounter(failureMs, fixed.rememberedUsers)
  readonly #pending = new PendingWork()
  #watching: Disposable | undefined
  #closing = false

  /** Calls `onStored` after files were verified and published. It resolves as `reported`. */
  constructor(
    context: ServerContext,
    disk: DiskSpace,
    { mail, notify = [], onStored: onHandled, onUpload }: FileExchange,
    onStored: (files: readonly VersionedFile[]) => Promise<void>,
  ) {
    this.#context = context
    this.uploads = new UploadTable(context, (upload) => this.#yield(upload))
    this.#quota = new Quota(context, this.uploads, disk)
    const { catalogue } = context.storage
    const grants = catalogue && new Grants(context, catalogue)
    const rules = onHandled ? [...notify, { user: handlerMailbox }] : notify
    this.#notices =
      grants &&
      new FileNotices({
        ...{ mail, rules, context, catalogue, grants },
        appended: () => this.storedFileCalls?.wake(),
      })
    // Readers of a replaced file must not continue with the old content.
    this.#reports = new StoredReports(context, this.#notices, (files) => {
      for (const { user, storedName } of files) this.#storedFiles?.replaced(user, storedName)
      return onStored(files)
    })
    this.storedFileCalls = onHandled && catalogue && new StoredFileCalls(context, catalogue, onHandled)
    this.#hooks = onUpload && new UploadHooks(context, onUpload)
    this.#daemon = new FileDaemon(context, this.uploads, this.#quota, this.#reports, this.#notices, this.#hooks)
    const { uploads } = this
    this.#smallFiles = new SmallFiles({
      context,
      uploads,
      quota: this.#quota,
      limiter: this.#limiter,
      reports: this.#reports,
      notices: this.#notices,
      hooks: this.#hooks,
      logRefusal: (by, name, reason) => this.#logged(by, name, reason),
    })
    const parts = { uploads, quota: this.#quota, reports: this.#reports }
    this.#storedFiles = grants && new StoredFileRequests(context, catalogue, { grants, ...parts })
    this.#damages = new DamageReporter('uploads', context.storage.transfers, context.log)
    this.unfinished = new UnfinishedUploads(context, this.uploads, this.#damages, () =>
      this.#complete((files) => void this.#reports.stored(files)),
    )
  }

  /**
   * Publishes the verified uploads that a crash or a fault has left incomplete, and removes expired ones. Logs each file, and each upload
   * that could not be published; its client can continue it. Resolves with the files that the application has not been informed
   * about.
   */
  async recover(): Promise<readonly VersionedFile[]> {
    const { transfers } = this.#context.storage
    const recovered = [...this.#reports.recovered(await transfers.unreported())]
    await this.#damages.report()
    await this.unfinished.sweepOrphans()
    for await (const record of transfers.records()) await this.unfinished.expire(record)
    this.#watching = transfers.watch?.((claim, reason) => this.#ended(claim, reason))
    await this.#complete((files) => recovered.push(...files))
    this.unfinished.start()
    this.storedFileCalls?.open()
    return recovered
  }

  /** Called when the other servers of a cluster have declared this one dead. */
  declaredDead(): void {
    this.storedFileCalls?.lost()
  }

  /** Publishes the verified uploads that no link holds. Reports these files, and other unreported files of dead servers. */
  recoverAbandoned(): void {
    this.#pending.track(this.#complete((files) => void this.#reports.stored(files)))
  }

  /**
   * Publishes the verified uploads that a crash or a fault of the storage has left incomplete. Calls `report` for files as soon as
   * they are found, since requests may wait until these are reported.
   */
  async #complete(report: (files: readonly VersionedFile[]) => void): Promise<void> {
    const { log, storage } = this.#context
    const { transfers } = storage
    try {
      if (transfers.abandoned) report(this.#reports.recovered(await transfers.unreported(true)))
      // A record that a link at another server holds is left to that server.
      for await (const record of transfers.abandoned ? await transfers.abandoned() : transfers.records()) {
        const { user, name, verified } = record
        if (!verified) continue
        const finish = async ({ isOpen }: ServerUpload) => {
          // A client of this server may be continuing it, or may have completed it and begun another one.
          const current = this.#closing || isOpen ? undefined : await recordOf(storage, user, name)
          return current?.verified ? this.#finish(current) : []
        }
        report(await this.uploads.run(user, name, finish))
      }
    } catch (error) {
      log({ level: 'error', event: 'uploads-not-swept', text: OspError.from(error).message })
    }
  }

  /** Publishes a verified upload. Resolves with no file if this failed or another server has done it. */
  async #finish(record: TransferRecord): Promise<readonly VersionedFile[]> {
    try {
      const file = await finishVerified(this.#context, record)
      if (!file) return []
      this.#reports.begin(file)
      return [file]
    } catch (error) {
      const { user, name } = record
      const { code, message: text } = OspError.from(error)
      const isElsewhere = this.#context.storage.transfers.abandoned && elsewhere.includes(code)
      if (!isElsewhere) this.#context.log({ level: 'error', event: 'upload-not-recovered', user, name, text })
      return []
    }
  }

  /** Ends an upload at this server whose claim has ended at another one. */
  #ended({ user, name, token }: Claim, reason: ClaimEnd): void {
    const isMeant = ({ transfer }: ServerUpload) => transfer?.claim.token === token
    const known = this.uploads.known().find((upload) => upload.user === user && upload.name === name)
    if (!known) return
    const event = reason === 'cancelled' ? 'CancelFileReq' : 'restarted'
    if (isMeant(known)) this.uploads.release(known, event, reason)
    // A request in progress may be opening the upload under this claim.
    void this.uploads.run(user, name, async (upload) => {
      if (isMeant(upload)) await this.uploads.end(upload, event, reason)
    })
  }

  get gauges() {
    const { openFiles, readBytes } = this.#storedFiles ?? { openFiles: 0, readBytes: 0 }
    return { ...this.uploads.gauges, openFiles, readBytes }
  }

  /** Sends the messages about completed files, and marks the files as reported, after the log and the listeners have received them. */
  reported(files: readonly VersionedFile[]): Promise<void> {
    const reported = this.#reports
      .ended(files)
      .then(() => this.#damages.report())
      .catch(() => {})
    this.#pending.track(reported)
    return reported
  }

  handle(caller: Connection, request: Request): Promise<WireMessage | undefined> {
    const { message } = request
    if (this.#closing) return Promise.reject(new OspError('shutting-down'))
    const isWhole = message.event === 'PutFileReq' || message.event === 'PutFilesReq'
    return isWhole ? this.#smallFiles.put(caller, message) : this.#handle(caller, request)
  }

  async #handle(caller: Connection, request: Request): Promise<WireMessage | undefined> {
    const { message } = request
    switch (message.event) {
      case 'StartPostFileReq':
      case 'ContinuePostFileReq':
        return this.#limiter.run(caller, () => this.#open(caller, message))
      case 'CancelFileReq':
        return this.#limiter.run(caller, () => this.#daemon.cancel(caller, message.fileName))
      case 'PostFileReq':
        return await this.#post(caller, request.instance, message)
      case 'FileMd5Req':
        return this.#atInstance(caller, request.instance, (upload) => this.#verify(caller, upload, message))
      case 'PauseFileReq':
        return this.#atInstance(caller, request.instance, (upload) => this.#pause(caller, upload))
      case 'ListFilesReq':
      case 'StatFileReq':
      case 'RemoveFileReq':
      case 'RenameFileReq':
      case 'ReadFileReq':
        if (this.#storedFiles) return this.#storedFiles.handle(caller, request, message)
        throw new OspError('malformed', 'this server only receives files')
      default:
        throw new OspError('malformed', `${message.event} is not a request to FileApp`)
    }
  }

  holds(caller: Connection): boolean {
    return this.uploads.bounds.ofLink(caller.node) > 0
  }

  lost(caller: Connection): void {
    this.#limiter.lost(caller)
    this.#storedFiles?.lost(caller)
    this.uploads.scheduler.lost(caller.node)
    for (const upload of [...this.uploads.receiving()]) {
      if (upload.heldBy(caller)) this.#park(upload, 'linkLost')
    }
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#watching?.[Symbol.dispose]()
    const readersClosed = this.#storedFiles?.close()
    this.#notices?.close()
    this.#hooks?.close()
    const swept = this.unfinished.close()
    const open = this.uploads.known()
    for (const upload of open) this.uploads.release(upload, 'shutDown', 'shutting-down')
    const flushAndClose = (upload: ServerUpload) => this.#flush(upload).finally(() => this.uploads.close(upload))
    await Promise.all(open.map(({ user, name }) => this.uploads.run(user, name, flushAndClose)))
    this.uploads.stop()
    await swept
    await readersClosed
    await this.#pending.settled()
    await this.storedFileCalls?.close()
  }

  /** Releases the instance immediately, makes the written bytes durable, and parks the upload. */
  #park(upload: ServerUpload, event: 'linkLost' | 'stalled'): void {
    this.uploads.release(upload, event)
    void this.uploads.run(upload.user, upload.name, async () => {
      if (upload.instance) return
      if (await this.#flush(upload)) await this.uploads.park(upload)
      else await this.uploads.close(upload)
    })
  }

  /** Releases the instance for another user. The client's next chunk fails with `instance-lost`, and it asks for an instance. */
  #yield(upload: ServerUpload): void {
    const { user, name, size, standing } = upload
    this.#context.log({ level: 'info', event: 'upload-stalled', user, name, progress: standing.progress, size })
    this.#park(upload, 'stalled')
  }

  /** Makes the written bytes durable. Resolves with false if that fails; the record then keeps its last checkpoint. */
  async #flush(upload: ServerUpload): Promise<boolean> {
    try {
      await upload.transfer?.flush()
      return true
    } catch (error) {
      const { user, name } = upload
      const { code, message: text } = OspError.from(error)
      // Another server has taken over the upload, which goes on from the last checkpoint.
      if (code !== 'superseded') this.#logOnce({ level: 'error', event: 'checkpoint-failed', user, name, text }, code)
      return false
    }
  }

  async #open(by: Connection, message: WireMessage<'StartPostFileReq' | 'ContinuePostFileReq'>): Promise<WireMessage> {
    try {
      return await this.#daemon.open(by, message)
    } catch (error) {
      throw this.#logged(by, message.fileName, error)
    }
  }

  async #post(by: Connection, instance: number, message: WireMessage<'PostFileReq'>): Promise<WireMessage> {
    const upload = this.uploads.heldBy(by, instance)
    const { progress: before } = upload.standing
    try {
      const { progress: offset, content } = message
      const standing = await upload.post(
        { by, offset, content },
        { denied: () => this.uploads.denial(by, instance), checkSpace: (bytes) => this.#quota.recheck(upload, bytes) },
      )
      if (standing.progress !== before) upload.progressedAtMs = this.#context.platform.clock.now()
      return { event: 'PostFileAck', ...standing }
    } catch (reason) {
      const error = this.#logged(by, upload.name, reason)
      const isMistakeOfClient = error.code === 'too-large' && error.publicText === undefined
      const isRefused = upload.heldBy(by) && !isMistakeOfClient
      throw this.#withProgress(upload, isRefused ? await this.#refused(upload, error) : error)
    }
  }

  /** Logs a storage error or a full disk once an hour for each upload and code. Returns the error for the client. */
  #logged(by: Connection, name: string, error: unknown): OspError {
    // Any other error is a bug. The session logs it with its stack.
    if (!(error instanceof OspError)) return OspError.from(error)
    const { code, message: text, publicText } = error
    if (publicText === undefined && !loggedFailures.includes(code)) return error
    this.#logOnce({ level: 'warn', event: 'upload-refused', ...linkOf(by), name, code, text })
    return error.with({ publicText: publicText ?? errors[code].text })
  }

  #logOnce(entry: Extract<ServerEntry, { event: 'upload-refused' | 'checkpoint-failed' }>, code = ''): void {
    const { platform, log } = this.#context
    const key = [entry.event, entry.user, entry.name, 'code' in entry ? entry.code : code].join('/')
    if (this.#failures.add(key, platform.clock.now()) === 1) log(entry)
  }

  /** Runs a request to an instance, if the caller still holds it after the requests before it. */
  async #atInstance(
    caller: Connection,
    instance: number,
    job: (upload: ServerUpload) => Promise<WireMessage>,
  ): Promise<WireMessage> {
    const { user, name } = this.uploads.heldBy(caller, instance)
    return this.uploads.run(user, name, async (upload) => {
      if (upload !== this.uploads.heldBy(caller, instance)) throw new OspError('instance-lost')
      return job(upload)
    })
  }

  async #verify(by: Connection, upload: ServerUpload, message: WireMessage<'FileMd5Req'>): Promise<WireMessage> {
    if (upload.completed) return this.#verifyCompleted(by, upload, upload.completed, message)
    try {
      const notice = noticeOf(message)
      const unseen = notice && (await this.#notices?.check(by.user, notice.recipients))
      const published = () => upload.reserve({ growth: 0, entries: 0 })
      const { digest } = message
      const finish = async () => upload.transfer?.finish({ digest, notice }, by, published)
      const file = await this.#reports.afterEarlier([upload], finish)
      if (!file) throw new OspError('instance-lost')
      await this.uploads.end(upload, 'FileMd5Req', undefined, by)
      const informed = this.#reports.stored([file])
      if (file.notice) await informed
      return this.#storedAck(file, file.notice, unseen)
    } catch (error) {
      throw this.#withProgress(upload, await this.#notVerified(by, upload, this.#logged(by, upload.name, error)))
    }
  }

  async #notVerified(by: Connection, upload: ServerUpload, error: OspError): Promise<OspError> {
    if (error.code === 'wrong-offset') return error
    const claim = upload.transfer?.claim
    if (error.retry === 'later') await this.uploads.end(upload, 'refused', error, by)
    else await this.uploads.end(upload, 'FileMd5Req', undefined, by)
    if (error.code === 'file-exists' && claim) await removeUpload(this.#context.storage, claim)
    return error
  }

  /** Ends an upload whose file is stored already, or removes its completion marker if the digest differs. */
  async #verifyCompleted(
    by: Connection,
    upload: ServerUpload,
    file: StoredFile,
    { digest, ...message }: WireMessage<'FileMd5Req'>,
  ): Promise<WireMessage> {
    const { want } = upload
    await this.uploads.end(upload, 'FileMd5Req', undefined, by)
    if (hex(digest) === file.digest) {
      if (want?.metadata) await this.#context.storage.transfers.completed(want, file.digest)
      const notice = noticeOf(message)
      return this.#storedAck(file, notice, notice && (await this.#notices?.again(file, notice)))
    }
    if (want) await this.#reports.forget(want, file.digest)
    throw new OspError('digest-mismatch', undefined, { progress: 0 })
  }

  /**
   * Returns the reply for a stored file. `unseen` are the recipients that have never logged in. If the owner gets receipts, the
   * reply names the users that are notified of this upload.
   */
  #storedAck(
    file: StoredFile,
    notice: FileNotice | undefined,
    unseen: readonly string[] = [],
  ): WireMessage<'FileMd5Ack'> {
    const ack = { event: 'FileMd5Ack', ...storedFields(file), ...(unseen.length > 0 && { unseen }) } as const
    if (!notice?.receipt) return ack
    const notified = this.#notices?.usersOfRules(file) ?? []
    return notice.id === file.notice?.id || notified.length === 0 ? { ...ack, unseen, notified } : ack
  }

  async #pause(by: Connection, upload: ServerUpload): Promise<WireMessage> {
    try {
      await upload.transfer?.flush()
    } catch (reason) {
      const error = this.#logged(by, upload.name, reason)
      await this.uploads.end(upload, 'refused', error, by)
      throw error
    }
    const { standing, name, size } = upload
    const { progress } = standing
    this.#context.log({ level: 'info', event: 'upload-paused', ...linkOf(by), name, progress, size })
    this.uploads.release(upload, 'PauseFileReq', undefined, by)
    await this.uploads.park(upload)
    return { event: 'PauseFileAck', ...standing }
  }

  /** Releases the instance of an upload that cannot be written, and keeps the bytes that were written before. */
  async #refused(upload: ServerUpload, error: OspError): Promise<OspError> {
    this.uploads.release(upload, 'refused', error)
    return this.uploads.run(upload.user, upload.name, async () => {
      if (upload.instance) return error
      await this.#flush(upload)
      const { durable: progress } = upload.standing
      const claim = upload.transfer?.claim
      await this.uploads.close(upload)
      // The file can never fit, and its partial file would only use space.
      if (error.code === 'too-large' && claim) await removeUpload(this.#context.storage, claim)
      return error.with({ progress })
    })
  }

  #withProgress(upload: ServerUpload, error: OspError): OspError {
    return error.with({ progress: error.progress ?? upload.standing.progress })
  }
}
