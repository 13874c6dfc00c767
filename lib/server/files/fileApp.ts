import type { Request } from '../../core/link.ts'
import { WindowCounter } from '../../core/windowCounter.ts'
import { type ErrorCode, errors, OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { Storage, StoredFile } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import type { Message } from '../../wire/message.ts'
import type { App, Connection } from '../app.ts'
import { LinkTurns } from '../connections/linkTurns.ts'
import type { ServerEntry } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'
import { FileDaemon, type FileDaemonOptions } from './fileDaemon.ts'
import { OldUploads } from './oldUploads.ts'
import { rollForward, storedLine } from './publish.ts'
import { Quota } from './quota.ts'
import { UnfinishedUploads } from './unfinished.ts'
import type { Upload } from './upload.ts'
import { Uploads } from './uploads.ts'

/** Storage errors whose text reveals nothing about this machine. */
const failures: readonly ErrorCode[] = ['disk-full', 'internal']

const failureSpanMs = 3_600_000

/** App 1: receives files. Its daemon opens uploads and cancels them; an instance receives one. */
export class FileApp implements App {
  readonly #options: FileDaemonOptions
  readonly #storage: Storage
  readonly #uploads: Uploads
  readonly #quota: Quota
  readonly #turns = new LinkTurns()
  readonly #daemon: FileDaemon
  readonly #old: OldUploads
  /** Recent log entries about uploads, to limit repetition. */
  readonly #failures = new WindowCounter(failureSpanMs, fixed.rememberedUsers)
  /** Pending writes of `reported`, which closing waits for. */
  readonly #underWay = new Set<Promise<void>>()
  #closing = false

  constructor(options: FileDaemonOptions) {
    this.#options = options
    this.#storage = options.storage
    this.#uploads = new Uploads(options.limits, options.platform, options.log, (upload) => this.#yields(upload))
    this.#quota = new Quota(options, this.#uploads)
    this.#daemon = new FileDaemon(options, this.#uploads, this.#quota)
    this.#old = new OldUploads(options, this.#uploads)
  }

  /**
   * Finishes what a crash interrupted between verifying and the end. What can't be finished now is left for its client,
   * and the log says so. What is too old is removed. Resolves with what it has finished, and what was stored before and not
   * reported: the log has it by then.
   */
  async recover(): Promise<readonly StoredFile[]> {
    const { log, onConflict, age } = this.#options
    const recovered = [...(await this.#storage.transfers.unreported())]
    for (const file of recovered) log(storedLine(file))
    await this.#old.tellDamages()
    await this.#old.lookForOrphans()
    for await (const record of this.#storage.transfers.records()) {
      await this.#old.look(record)
      if (!record.verified) continue
      try {
        const how = { fresh: false, takeOver: false, onConflict, at: age.now() }
        const claimed = await this.#storage.transfers.claim(record, record.owner, how)
        if ('completed' in claimed) continue
        recovered.push(await rollForward(this.#options, claimed.claim, record.verified))
      } catch (error) {
        const { user, name } = record
        log({ level: 'error', event: 'upload-not-recovered', user, name, text: OspError.from(error).message })
      }
    }
    this.#old.start()
    return recovered
  }

  /** Marks a file as reported, after the log and the listeners have received it. */
  reported(file: StoredFile): void {
    // If this fails, the next start reports the file once more.
    const noted = this.#storage.transfers
      .reported(file)
      .then(() => this.#old.tellDamages())
      .catch(() => {})
    this.#underWay.add(noted)
    void noted.then(() => this.#underWay.delete(noted))
  }

  /** The uploads that are open, and what waits to be. */
  get uploads(): Uploads {
    return this.#uploads
  }

  /** The uploads that are not stored yet, as the operator sees them. */
  get unfinished(): UnfinishedUploads {
    return new UnfinishedUploads(this.#options, this.#uploads)
  }

  async handle(caller: Connection, request: Request): Promise<Message> {
    const { message } = request
    if (this.#closing) throw new OspError('shutting-down')
    switch (message.event) {
      case 'StartPostFileReq':
      case 'ContinuePostFileReq':
        return this.#turns.run(caller, () => this.#open(caller, message))
      case 'CancelFileReq':
        return this.#turns.run(caller, () => this.#daemon.cancel(caller, message.fileName))
      case 'PostFileReq':
        return await this.#post(caller, request.instance, message)
      case 'FileMd5Req':
        return this.#atInstance(caller, request.instance, (upload) => this.#verify(caller, upload, message.digest))
      case 'PauseFileReq':
        return this.#atInstance(caller, request.instance, (upload) => this.#pause(caller, upload))
      default:
        throw new OspError('malformed', `${message.event} is not a request to FileApp`)
    }
  }

  holds(caller: Connection): boolean {
    return this.#uploads.isHolder(caller)
  }

  lost(caller: Connection): void {
    this.#turns.lost(caller)
    this.#uploads.lost(caller)
    for (const upload of [...this.#uploads.receiving()]) {
      if (upload.heldBy(caller)) this.#leave(upload, 'linkLost')
    }
  }

  async close(): Promise<void> {
    this.#closing = true
    const swept = this.#old.close()
    const open = this.#uploads.open()
    for (const upload of open) this.#uploads.free(upload, 'shutDown', 'shutting-down')
    const keep = (upload: Upload) => this.#keep(upload).finally(() => this.#uploads.close(upload))
    await Promise.all(open.map(({ user, name }) => this.#uploads.run(user, name, keep)))
    this.#uploads.stop()
    await swept
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }

  /** Frees the instance at once, and then keeps the upload open for its client to come back. */
  #leave(upload: Upload, event: 'linkLost' | 'stalled'): void {
    this.#uploads.free(upload, event)
    void this.#uploads.run(upload.user, upload.name, async () => {
      if (upload.instance) return
      if ((await this.#keep(upload)) && upload.transfer) this.#uploads.park(upload)
      else await this.#uploads.close(upload)
    })
  }

  /** Its client, when it goes on, is told `instance-lost` and asks for an instance again. */
  #yields(upload: Upload): void {
    const { size, standing } = upload
    const { progress } = standing
    this.#options.log({ level: 'info', event: 'upload-stalled', ...this.#nameOf(upload), progress, size })
    this.#leave(upload, 'stalled')
  }

  /** Makes durable what there is. Resolves with false if that fails: the record stays at its last checkpoint then. */
  async #keep(upload: Upload): Promise<boolean> {
    try {
      await upload.transfer?.flush()
      return true
    } catch (error) {
      const { code, message: text } = OspError.from(error)
      this.#logOnce({ level: 'error', event: 'checkpoint-failed', ...this.#nameOf(upload), text }, code)
      return false
    }
  }

  async #open(by: Connection, message: Message<'StartPostFileReq' | 'ContinuePostFileReq'>): Promise<Message> {
    try {
      return await this.#daemon.open(by, message)
    } catch (error) {
      throw this.#logged(by, message.fileName, error)
    }
  }

  async #post(by: Connection, instance: number, message: Message<'PostFileReq'>): Promise<Message> {
    const upload = this.#uploads.heldBy(by, instance)
    const { progress: before } = upload.standing
    try {
      const { progress: offset, content } = message
      const standing = await upload.post(
        { by, offset, content },
        { denied: () => this.#uploads.denial(by, instance), checkSpace: (bytes) => this.#quota.recheck(upload, bytes) },
      )
      if (standing.progress !== before) upload.progressed(this.#options.platform.clock.now())
      return { event: 'PostFileAck', ...standing }
    } catch (error) {
      const why = this.#logged(by, upload.name, error)
      const isMistaken = why.code === 'too-large' && why.publicText === undefined
      const refused = upload.heldBy(by) && !isMistaken
      throw this.#withProgress(upload, refused ? await this.#refused(upload, why) : why)
    }
  }

  /**
   * Logs a storage error, including a full disk, once an hour for each upload and code. Resolves with the error for the
   * client.
   */
  #logged(by: Connection, name: string, error: unknown): OspError {
    // Any other error is a bug, whose stack is logged.
    if (!(error instanceof OspError)) return OspError.from(error)
    const { code, message: text, publicText } = error
    if (publicText === undefined && !failures.includes(code)) return error
    this.#logOnce({ level: 'warn', event: 'upload-refused', ...linkOf(by), name, code, text })
    return error.with({ publicText: publicText ?? errors[code].text })
  }

  #logOnce(entry: Extract<ServerEntry, { event: 'upload-refused' | 'checkpoint-failed' }>, code = ''): void {
    const { platform, log } = this.#options
    const key = [entry.event, entry.user, entry.name, 'code' in entry ? entry.code : code].join('/')
    if (this.#failures.add(key, platform.clock.now()) === 1) log(entry)
  }

  /** Carries out a request to an instance that the caller holds by the time it is its turn. */
  async #atInstance(caller: Connection, instance: number, job: (upload: Upload) => Promise<Message>): Promise<Message> {
    const { user, name } = this.#uploads.heldBy(caller, instance)
    return this.#uploads.run(user, name, async (upload) => {
      if (upload !== this.#uploads.heldBy(caller, instance)) throw new OspError('instance-lost')
      return job(upload)
    })
  }

  async #verify(by: Connection, upload: Upload, digest: Uint8Array): Promise<Message> {
    if (upload.completed) return this.#verifyCompleted(by, upload, upload.completed, digest)
    try {
      const file = await upload.transfer?.finish(digest, by, () => this.#quota.published(upload))
      if (!file) throw new OspError('instance-lost')
      this.#uploads.free(upload, 'FileMd5Req', undefined, by)
      await this.#uploads.close(upload)
      this.#options.stored(file)
      return storedAck(file)
    } catch (error) {
      throw this.#withProgress(upload, await this.#notVerified(by, upload, this.#logged(by, upload.name, error)))
    }
  }

  async #notVerified(by: Connection, upload: Upload, why: OspError): Promise<OspError> {
    if (why.code === 'wrong-offset') return why
    if (why.retry === 'later') this.#uploads.free(upload, 'refused', why, by)
    else this.#uploads.free(upload, 'FileMd5Req', undefined, by)
    await this.#uploads.close(upload)
    if (why.code === 'file-exists') await this.#remove(upload)
    return why
  }

  /** Removes the record and the partial file of an upload that can never be stored. */
  async #remove({ user, name }: Upload): Promise<void> {
    await this.#storage.transfers.remove(user, name)
    await this.#storage.files.remove(user, name)
  }

  /** The file is stored already: the noted digest ends it, another one drops the note. */
  async #verifyCompleted(by: Connection, upload: Upload, file: StoredFile, digest: Uint8Array): Promise<Message> {
    this.#uploads.free(upload, 'FileMd5Req', undefined, by)
    await this.#uploads.close(upload)
    if (hex(digest) === file.digest) return storedAck(file)
    await this.#storage.transfers.forget(upload.user, upload.name)
    throw new OspError('digest-mismatch', undefined, { progress: 0 })
  }

  async #pause(by: Connection, upload: Upload): Promise<Message> {
    try {
      await upload.transfer?.flush()
    } catch (error) {
      const why = this.#logged(by, upload.name, error)
      this.#uploads.free(upload, 'refused', why, by)
      await this.#uploads.close(upload)
      throw why
    }
    const { standing, name, size } = upload
    const { progress } = standing
    this.#options.log({ level: 'info', event: 'upload-paused', ...linkOf(by), name, progress, size })
    this.#uploads.free(upload, 'PauseFileReq', undefined, by)
    if (upload.transfer) this.#uploads.park(upload)
    else await this.#uploads.close(upload)
    return { event: 'PauseFileAck', ...standing }
  }

  /** Frees the instance of an upload that cannot be written; what was written before stays. */
  async #refused(upload: Upload, why: OspError): Promise<OspError> {
    this.#uploads.free(upload, 'refused', why)
    return this.#uploads.run(upload.user, upload.name, async () => {
      if (upload.instance) return why
      await this.#keep(upload)
      const { durable: progress } = upload.standing
      await this.#uploads.close(upload)
      // The file can never fit, and its partial file would only use space.
      if (why.code === 'too-large') await this.#remove(upload)
      return why.with({ progress })
    })
  }

  #withProgress(upload: Upload, why: OspError): OspError {
    return why.with({ progress: why.progress ?? upload.standing.progress })
  }

  #nameOf(upload: Upload): { user: string; name: string } {
    return { user: upload.user, name: upload.name }
  }
}

const storedAck = ({ storedName, replaced }: StoredFile): Message<'FileMd5Ack'> => {
  return { event: 'FileMd5Ack', storedName, replaced: replaced ? 1 : 0 }
}
