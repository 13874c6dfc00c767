import { OspError } from '../../errors.ts'
import type { StoredFile } from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { same } from '../../runtime/incrementalDigest.ts'
import { lengthOf } from '../../wire/codec.ts'
import type { WireMessage } from '../../wire/message.ts'
import type { Connection, ServerContext } from '../app.ts'
import { checkOpen, transferOf } from './fileDaemon.ts'
import { finishVerified, publish, storedFields } from './publish.ts'
import type { Quota } from './quota.ts'
import type { ServerUpload } from './serverUpload.ts'
import { recordOf } from './unfinishedUploads.ts'
import type { UploadTable } from './uploadTable.ts'

type Put = WireMessage<'PutFileReq'>

/**
 * Stores files that arrive in one PUT_FILE_REQ (docs/protocol.md, "Files"). Such a file has no instance, no record and no
 * checkpoint: if it is interrupted, its client sends it again. Its completion marker is written before it is published, so that
 * a repetition finds it and a crash loses no report.
 */
export class SmallFiles {
  readonly #context: ServerContext
  readonly #uploads: UploadTable
  readonly #quota: Quota
  readonly #onStored: (file: StoredFile) => void

  constructor(context: ServerContext, uploads: UploadTable, quota: Quota, onStored: (file: StoredFile) => void) {
    this.#context = context
    this.#uploads = uploads
    this.#quota = quota
    this.#onStored = onStored
  }

  /** Handles PUT_FILE_REQ. */
  async put(caller: Connection, message: Put): Promise<WireMessage> {
    const want = transferOf(caller.user, message)
    if (message.size !== lengthOf(message.content))
      throw new OspError('malformed', 'the content does not have the size of the file')
    if (message.size > this.#context.limits.smallFileBytes)
      throw new OspError('malformed', 'a file is too large for one request')
    this.#quota.checkSize(want)
    const digest = await this.#digestOf(message, want.algorithm)
    return this.#uploads.run(want.user, want.name, async (upload) => {
      checkOpen(caller)
      if (upload.instance && !upload.heldBy(caller)) throw new OspError('file-busy')
      await this.#uploads.end(upload, 'restarted', undefined, caller)
      const known = await this.#context.storage.transfers.completed(want)
      if (known?.digest === digest) return { event: 'PutFileAck', ...storedFields(known) }
      const { user, name, size, algorithm } = want
      const file = { user, name, storedName: name, replaced: false, size, algorithm, digest }
      // If a fault has interrupted the end of an upload, its file can be stored already.
      const record = await recordOf(this.#context.storage, user, name)
      const isVerified = record?.verified?.digest === digest
      const finished = isVerified ? await finishVerified(this.#context, record, caller) : undefined
      const stored = finished ?? (await this.#store(caller, upload, file, message))
      this.#onStored(stored)
      return { event: 'PutFileAck', ...storedFields(stored) }
    })
  }

  async #digestOf({ content, fileDigest }: Put, algorithm: StoredFile['algorithm']): Promise<string> {
    const { digests } = this.#context.platform
    await digests.load(algorithm)
    const digest = digests.create(algorithm)
    for (const part of content) digest.update(part)
    const own = digest.digest()
    if (!same(own, fileDigest)) throw new OspError('digest-mismatch', undefined, { progress: 0 })
    return hex(own)
  }

  async #store(by: Connection, upload: ServerUpload, file: StoredFile, message: Put): Promise<StoredFile> {
    const { content, modifiedAt } = message
    const { storage, limits } = this.#context
    await this.#quota.admit(upload, { ...file, modifiedAt }, true)
    checkOpen(by)
    const created = storage.files.create(file.user, content)
    created.catch(() => {})
    try {
      return await publish(this.#context, {
        partial: { publish: async (...where) => (await created).publish(...where) },
        file,
        by,
        async mark(candidate) {
          await storage.transfers.announce(candidate, (await created).version, modifiedAt, limits.noteMs)
        },
        published() {
          upload.reserved = undefined
        },
      })
    } finally {
      upload.reserved = undefined
      const unnamed = await created.catch(() => undefined)
      await unnamed?.[Symbol.asyncDispose]()
    }
  }
}
