import { checkMetadata } from '../../core/metadata.ts'
import { OspError } from '../../errors.ts'
import { checkFileName, checkStoredName } from '../../names.ts'
import type { Metadata } from '../../ports/catalogue.ts'
import type { DigestName } from '../../ports/platform.ts'
import type { ClaimOptions, NewTransfer, VersionedFile } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import type { WireMessage } from '../../wire/message.ts'
import { cancelOutcomes, digestNumbers } from '../../wire/protocol.ts'
import { type Connection, type ServerContext, sessionLinkOf } from '../app.ts'
import { linkOf } from '../serverLog.ts'
import type { FileNotices } from './fileNotices.ts'
import { fileExists, finishClaimed, removeUpload } from './publish.ts'
import type { Quota } from './quota.ts'
import type { ServerUpload } from './serverUpload.ts'
import type { StoredReports } from './storedReports.ts'
import { type ClaimedRecord, Transfer } from './transfer.ts'
import { recordOf } from './unfinishedUploads.ts'
import type { UploadHooks } from './uploadHook.ts'
import type { UploadTable } from './uploadTable.ts'

type Opening = WireMessage<'StartPostFileReq' | 'ContinuePostFileReq'>

/** Instance 0 of FileApp: opens uploads and cancels them (docs/protocol.md, "Files"). */
export class FileDaemon {
  readonly #context: ServerContext
  readonly #uploads: UploadTable
  readonly #quota: Quota
  readonly #reports: StoredReports
  readonly #notices: FileNotices | undefined
  readonly #hooks: UploadHooks | undefined

  constructor(
    context: ServerContext,
    uploads: UploadTable,
    quota: Quota,
    reports: StoredReports,
    notices: FileNotices | undefined,
    hooks: UploadHooks | undefined,
  ) {
    this.#context = context
    this.#uploads = uploads
    this.#quota = quota
    this.#reports = reports
    this.#notices = notices
    this.#hooks = hooks
  }

  /** Answers START and CONTINUE: assigns an instance to the upload. The reply has the progress. */
  async open(caller: Connection, message: Opening): Promise<WireMessage> {
    const metadata = this.#metadataOf(message)
    const asked = { ...transferOf(caller.user, message), ...(metadata && { metadata }) }
    this.#quota.checkSize(asked)
    await this.#checkRecipients(caller, message)
    const want = this.#hooks ? await this.#decided(this.#hooks, asked, message.event) : asked
    return this.#uploads.run(want.user, want.name, async (upload) => {
      checkOpen(caller)
      const fresh = message.event === 'StartPostFileReq'
      if (upload.instance) await this.#openHeld(upload, caller, want, fresh)
      if (!upload.instance) await this.#openFree(upload, caller, want, message.event)
      return (await this.#alreadyStored(upload, caller, message)) ?? this.#granted(upload, message.event)
    })
  }

  /**
   * Ends an upload whose file is already stored, if the request has the digest of that file and needs no message. If the digest
   * differs, makes the upload begin at zero.
   */
  async #alreadyStored(upload: ServerUpload, caller: Connection, message: Opening): Promise<WireMessage | undefined> {
    const { completed, want } = upload
    const { fileDigest: digest, recipients = [] } = message
    if (!completed || !want || !digest || recipients.length > 0) return undefined
    const { transfers } = this.#context.storage
    const file = await transfers.completed(want, hex(digest))
    if (file) {
      await this.#uploads.end(upload, 'FileMd5Req', undefined, caller)
      const { storedName, replaced } = file
      const none = { instance: 0, progress: 0, chunk: 0, window: 0 }
      const stored = { storedName, replaced: replaced ? 1 : 0 }
      if (message.event === 'StartPostFileReq') return { event: 'StartPostFileAck', ...none, stored }
      return { event: 'ContinuePostFileAck', ...none, checkpoint: 0, checkpointDigest: new Uint8Array(), stored }
    }
    await this.#reports.forget(want, completed.digest)
    await this.#uploads.end(upload, 'restarted', undefined, caller)
    await this.#openFree(upload, caller, want, 'StartPostFileReq')
    return undefined
  }

  /** Asks `onUpload` about an upload, unless its record has the decision already. */
  async #decided(hooks: UploadHooks, want: NewTransfer, event: Opening['event']): Promise<NewTransfer> {
    const record =
      event === 'ContinuePostFileReq' ? await recordOf(this.#context.storage, want.user, want.name) : undefined
    const { size, modifiedAt, algorithm } = want
    const isSame = record?.size === size && record.modifiedAt === modifiedAt && record.algorithm === algorithm
    const storeAs = isSame ? record.storeAs : undefined
    return storeAs === undefined ? hooks.decided(want) : { ...want, storeAs }
  }

  async #checkRecipients({ user }: Connection, { recipients = [] }: Opening): Promise<void> {
    if (this.#notices) await this.#notices.check(user, recipients)
    else if (recipients.length > 0) throw new OspError('malformed', 'this server sends no messages about files')
  }

  /** Returns the metadata in an opening request, if there is any. Throws OspError `too-large` or `malformed`. */
  #metadataOf({ metadata: texts = [] }: Opening): Metadata | undefined {
    if (texts.length === 0) return undefined
    if (!this.#context.storage.catalogue) throw new OspError('malformed', 'this server keeps no metadata')
    checkMetadata(texts)
    return Object.fromEntries(texts.map(({ key, value }) => [key, value]))
  }

  /** Answers CANCEL: removes the record and the partial file of an upload. A published file stays. */
  async cancel(caller: Connection, fileName: string): Promise<WireMessage> {
    // An earlier version may have started an upload whose name has more parts than are allowed now.
    const name = checkStoredName(fileName)
    const { user } = caller
    return this.#uploads.run(user, name, async (upload) => {
      checkOpen(caller)
      this.#uploads.scheduler.remove(upload)
      const open = upload.isOpen && { progress: upload.standing.progress, size: upload.size }
      await this.#uploads.end(upload, 'CancelFileReq', 'cancelled', caller)
      const { files } = this.#context.storage
      checkOpen(caller)
      const removed = await this.#remove(user, name, caller)
      await files.remove(user, name)
      if (removed) {
        this.#context.log({ level: 'info', event: 'upload-cancelled', ...linkOf(caller), name, ...open })
      }
      const { nothing, removed: gone, published } = cancelOutcomes
      const outcome = removed ? gone : (await files.stored(user, name)) ? published : nothing
      return { event: 'CancelFileAck', outcome }
    })
  }

  /** Opens an upload whose instance is held by this link or by another link of the same user. */
  async #openHeld(upload: ServerUpload, caller: Connection, want: NewTransfer, fresh: boolean): Promise<void> {
    const mine = upload.heldBy(caller)
    if (mine && fresh) {
      this.#uploads.release(upload, 'restarted', undefined, caller)
      return
    }
    if (fresh || !upload.isOf(want)) throw new OspError('file-busy')
    if (!mine) await this.#takeOver(upload, caller, want)
  }

  async #takeOver(upload: ServerUpload, caller: Connection, want: NewTransfer): Promise<void> {
    using _place = this.#uploads.bounds.reserve(caller)
    const { instance } = upload
    if (!instance) return
    const former = instance.holder?.node
    try {
      await this.#claim(upload, caller, want, { instance: instance.number, fresh: false, takeOver: true })
    } catch (error) {
      const { retry, publicText, code } = OspError.from(error)
      // After a refusal the former holder continues. After a fault it may have lost its claim.
      if (retry !== 'never' || publicText !== undefined || !upload.isOpen) {
        await this.#uploads.end(upload, 'refused', code)
      }
      throw error
    }
    // The upload has no instance any more if the former holder's link was lost meanwhile. `open` then assigns another one.
    if (upload.instance) {
      this.#context.log({ level: 'info', event: 'upload-taken-over', ...linkOf(caller), name: upload.name, former })
    }
    this.#uploads.move(upload, caller)
    if (caller.open) return
    this.#uploads.release(upload, 'linkLost')
    await this.#uploads.park(upload)
    checkOpen(caller)
  }

  /** Opens an upload that has no instance: assigns an idle one. */
  async #openFree(upload: ServerUpload, caller: Connection, want: NewTransfer, event: Opening['event']): Promise<void> {
    let instance: number | undefined
    try {
      instance = this.#uploads.assign(upload, caller, event).number
      const reservation = await this.#quota.admit(upload, want)
      checkOpen(caller)
      const fresh = event === 'StartPostFileReq'
      await this.#claim(upload, caller, want, { instance, fresh, takeOver: false, reservation })
      if (upload.transfer) await this.#quota.checkAdds(want, reservation)
    } catch (error) {
      this.#uploads.release(upload, 'refused', undefined, caller)
      // If it was refused, or got no instance, it stays parked, so that its former session keeps the bytes that are not durable.
      if (instance === undefined || OspError.from(error).retry === 'never') await this.#uploads.park(upload)
      else await this.#uploads.close(upload)
      throw error
    }
  }

  async #claim(
    upload: ServerUpload,
    caller: Connection,
    want: NewTransfer,
    { instance, ...how }: { instance: number } & Pick<ClaimOptions, 'fresh' | 'takeOver' | 'reservation'>,
  ): Promise<void> {
    const { storage, onConflict, age } = this.#context
    const { node, session } = caller
    if (how.fresh || !upload.isOf(want) || upload.transfer?.broken) await this.#uploads.close(upload)
    const claim = () =>
      this.#reports.afterEarlier([], () =>
        storage.transfers.claim(want, { node, session, instance }, { ...how, onConflict, at: age.now() }),
      )
    const claimed = await (upload.transfer?.reclaim(claim) ?? claim())
    if (!claimed) return
    if (upload.transfer) await this.#uploads.close(upload)
    if ('completed' in claimed) {
      this.#reports.missed(claimed.completed, caller)
      return upload.open({ want, completed: claimed.completed })
    }
    const completed = await this.#completed(claimed, caller)
    if (completed) return upload.open({ want, completed })
    const { storeAs } = claimed.record
    // The record with the decision of `onUpload` has been removed in the meantime.
    if (this.#hooks && storeAs === undefined) throw new OspError('file-busy')
    const storedName = storeAs ?? want.name
    if (onConflict === 'reject' && (await storage.files.stored(want.user, storedName))) {
      await removeUpload(storage, claimed.claim)
      throw fileExists(storedName)
    }
    upload.open({ want, transfer: await Transfer.open(this.#context, upload.queue, claimed) })
  }

  /** Removes the record of an upload. Resolves with false if there is none, or if its file has already been published. */
  async #remove(user: string, name: string, by: Connection): Promise<boolean> {
    const { storage, onConflict, age } = this.#context
    const { transfers, files } = storage
    if (await transfers.expire(user, name, Number.POSITIVE_INFINITY, sessionLinkOf(by))) return true
    const record = await recordOf(storage, user, name)
    if (!record) return false
    const how = { fresh: false, takeOver: false, onConflict, at: age.now(), recovery: true }
    const claimed = await transfers.claim(record, record.owner, how)
    if ('completed' in claimed) return false
    const partial = await files.open(claimed.claim)
    const { length } = partial
    await partial[Symbol.asyncDispose]()
    if (length > 0) return transfers.remove(user, name, sessionLinkOf(by))
    try {
      await this.#completed(claimed, by)
      return false
    } catch (error) {
      // Both the partial file and the published file are missing, so `rollForward` has removed the record.
      if (OspError.from(error).code === 'digest-mismatch') return true
      throw error
    }
  }

  /** Publishes an upload whose record is verified. Resolves with its file. */
  async #completed(claimed: ClaimedRecord, by: Connection): Promise<VersionedFile | undefined> {
    const file = await finishClaimed(this.#context, claimed, by)
    if (file) void this.#reports.stored([file])
    return file
  }

  #granted(upload: ServerUpload, event: Opening['event']): WireMessage {
    const { instance, transfer } = upload
    if (!instance) throw new OspError('instance-lost')
    const granted = {
      instance: instance.number,
      progress: upload.standing.progress,
      chunk: upload.grant(this.#uploads.grantedChunk()),
      window: this.#context.limits.windowBytes,
    }
    if (event === 'StartPostFileReq') return { event: 'StartPostFileAck', ...granted }
    const { offset = 0, digest = new Uint8Array() } = transfer?.checkpoint ?? {}
    return { event: 'ContinuePostFileAck', ...granted, checkpoint: offset, checkpointDigest: digest }
  }
}

/** Throws `link-lost` for a link that has ended. Nothing would release an instance that it gets now. */
export function checkOpen(caller: Connection): void {
  if (!caller.open) throw new OspError('link-lost')
}

/** Returns the transfer that an opening request describes. Throws OspError `bad-name` or `unsupported-digest`. */
export function transferOf(
  user: string,
  { fileName, size, modifiedAt, digest }: Pick<Opening, 'fileName' | 'size' | 'modifiedAt' | 'digest'>,
): NewTransfer {
  const algorithm = (Object.keys(digestNumbers) as DigestName[]).find((name) => digestNumbers[name] === digest)
  if (!algorithm) throw new OspError('unsupported-digest', `the server does not support digest algorithm ${digest}`)
  return { user, name: checkFileName(fileName), size, modifiedAt, algorithm }
}
