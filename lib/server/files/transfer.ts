import { OspError } from '../../errors.ts'
import { MiB } from '../../limits.ts'
import type {
  Checkpoint,
  Claim,
  Claimed,
  FileNotice,
  PartialFile,
  StoredFile,
  TransferRecord,
  VersionedFile,
} from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { IncrementalDigest, same } from '../../runtime/incrementalDigest.ts'
import type { Mutex } from '../../runtime/mutex.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import type { Connection, ServerContext } from '../app.ts'
import { Checkpointer, withCheckpoint } from './checkpointer.ts'
import { publishUpload } from './publish.ts'

const none = new Uint8Array()

/** The claim of an upload that is not completed. */
export type ClaimedRecord = Exclude<Claimed, { readonly completed: StoredFile }>

/**
 * The bytes of one upload on the server: writes and digests them, makes them durable at checkpoints, verifies and publishes them.
 * Jobs of `queue` call the methods that change something, one at a time. Checkpoints run concurrently.
 */
export class Transfer {
  readonly #context: ServerContext
  readonly #queue: Mutex
  readonly #record: TransferRecord
  readonly #digest: IncrementalDigest
  #claim: Claim
  #partial: PartialFile
  #checkpoints: readonly Checkpoint[]
  #progress: number
  #isPublished = false
  readonly #checkpointer: Checkpointer

  private constructor(context: ServerContext, queue: Mutex, claimed: ClaimedRecord, partial: PartialFile) {
    this.#context = context
    this.#queue = queue
    this.#claim = claimed.claim
    this.#record = claimed.record
    this.#partial = partial
    const { size, algorithm } = claimed.record
    this.#checkpoints = claimed.record.checkpoints.filter(({ offset }) => offset <= Math.min(size, partial.length))
    this.#progress = this.durable
    this.#digest = new IncrementalDigest({
      digests: context.platform.digests,
      algorithm,
      checkpoints: this.#checkpoints.filter(({ digest }) => digest.length > 0),
      read: (into, offset) => this.#read(into, offset),
    })
    this.#checkpointer = new Checkpointer(
      context.platform.clock,
      context.limits,
      () => this.#progress - this.durable,
      () => this.#recordCheckpoint(),
    )
  }

  /** Opens a claimed upload at its last checkpoint. */
  static async open(context: ServerContext, queue: Mutex, claimed: ClaimedRecord): Promise<Transfer> {
    await context.platform.digests.load(claimed.record.algorithm)
    const partial = await context.storage.files.open(claimed.claim)
    try {
      const transfer = new Transfer(context, queue, claimed, partial)
      if (partial.length > transfer.#progress) await partial.truncate(transfer.#progress)
      if (transfer.durable > 0 && !transfer.checkpoint) await transfer.#adopt()
      void transfer.#catchUpInBackground()
      return transfer
    } catch (error) {
      await partial[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Number of leading bytes that were written. */
  get progress(): number {
    return this.#progress
  }

  /** Number of leading bytes before the last recorded checkpoint. A restarted server continues there. */
  get durable(): number {
    return this.#checkpoints.at(-1)?.offset ?? 0
  }

  /** The last checkpoint whose digest is known. */
  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoints.findLast(({ digest }) => digest.length > 0)
  }

  /** Whether a checkpoint has failed. The transfer must then be closed and opened again. */
  get broken(): boolean {
    return this.#checkpointer.failure !== undefined
  }

  /**
   * Continues under a new claim, or the former one if `claim` rejects. No checkpoint runs meanwhile: it would fail. Resolves with
   * what was claimed if another server has continued the upload: then the transfer must be closed, and opened again.
   */
  async reclaim(claim: () => Promise<Claimed>): Promise<Claimed | undefined> {
    using _ = await this.#checkpointer.hold()
    try {
      // The written bytes are flushed first, so that a failed claim does not lose them.
      await this.#recordNow()
    } catch (error) {
      if (OspError.from(error).code !== 'superseded') throw error
    }
    const claimed = await claim()
    if ('completed' in claimed || !this.#isAt(claimed.record)) return claimed
    const partial = await this.#context.storage.files.open(claimed.claim)
    if (partial.length !== this.#progress) {
      await partial[Symbol.asyncDispose]()
      return claimed
    }
    const former = this.#partial
    this.#claim = claimed.claim
    // Replaced before the former one is closed, since the digest may be reading from it.
    this.#partial = partial
    await former[Symbol.asyncDispose]()
    return undefined
  }

  /** Records for the other servers that no link holds the upload any more. */
  release(): Promise<void> | undefined {
    return this.#isPublished ? undefined : this.#context.storage.transfers.release?.(this.#claim)
  }

  get claim(): Claim {
    return this.#claim
  }

  /** Returns whether the record has the checkpoints of this transfer, up to which it was written. */
  #isAt({ checkpoints }: TransferRecord): boolean {
    if (this.broken) return false
    const { offset = 0, digest = none } = checkpoints.at(-1) ?? {}
    const own = this.#checkpoints.at(-1)?.digest ?? none
    // A digest can be missing: it was not known yet.
    const agrees = digest.length === 0 || own.length === 0 || same(digest, own)
    return agrees && offset === this.durable && offset === this.#progress
  }

  /** Appends `parts` at the progress. */
  async write(parts: Parts): Promise<void> {
    this.#check()
    const offset = this.#progress
    await this.#partial.write(offset, parts)
    this.#digest.follow(offset, parts)
    this.#progress += lengthOf(parts)
    this.#checkpointer.update()
  }

  /** Makes the written bytes durable. */
  async flush(): Promise<void> {
    using _ = await this.#checkpointer.hold()
    await this.#recordNow()
  }

  /**
   * Verifies the whole file against `digest` and publishes it, with the message `notice` about it. Calls `published` when the
   * file is in its place. Rejects with OspError `wrong-offset` if bytes are missing, also because damage was found, or with
   * `digest-mismatch`, which resets the progress to 0. Both errors contain the progress.
   */
  async finish(
    { digest, notice }: { readonly digest: Uint8Array; readonly notice?: FileNotice | undefined },
    by: Connection,
    published: () => void,
  ): Promise<VersionedFile> {
    this.#check()
    using _ = await this.#checkpointer.hold()
    const { user, name, size, algorithm, storeAs } = this.#record
    if (this.#progress === size) await this.#catchUp()
    if (this.#progress < size) throw new OspError('wrong-offset', undefined, { progress: this.#progress })
    const own = this.#digest.now()
    if (!same(own, digest)) {
      await this.#goBack(0)
      throw new OspError('digest-mismatch', undefined, { progress: 0 })
    }
    // After a failed flush, a second one proves nothing: the system may have dropped the bytes.
    this.#check()
    await this.#partial.flush()
    const stored = { user, name, storedName: name, replaced: false, size, algorithm, digest: hex(own) }
    const file = { ...stored, ...(notice && { notice }) }
    const verified = { partial: this.#partial, file, storeAs, by, published }
    const result = await publishUpload(this.#context, this.#claim, verified)
    this.#isPublished = true
    return result
  }

  /** Closes the partial file. The record keeps its last checkpoint. */
  async close(): Promise<void> {
    this.#checkpointer.fail(new OspError('closed'))
    await this.#checkpointer.hold()
    await this.#partial[Symbol.asyncDispose]()
    await this.release()
  }

  async #read(into: Uint8Array, offset: number): Promise<number> {
    const partial = this.#partial
    try {
      return await partial.read(into, offset)
    } catch (error) {
      if (partial === this.#partial) throw error
      // `reclaim` has closed it.
      return this.#read(into, offset)
    }
  }

  /**
   * Makes the bytes of a partial file durable whose record was lost, and records their digest. The client compares it, and restarts
   * at once if it differs. The bytes are written again, since a flush of them may have failed: a second flush alone would report
   * success without making them durable.
   */
  async #adopt(): Promise<void> {
    const block = new Uint8Array(MiB)
    for (let offset = 0; offset < this.#progress; ) {
      const length = await this.#partial.read(block, offset)
      if (length === 0) throw new OspError('internal', `the partial file of ${this.#record.name} became shorter`)
      await this.#partial.write(offset, [block.subarray(0, length)])
      offset += length
    }
    await this.#partial.flush()
    await this.#digest.catchUp(this.#progress)
    this.#checkpoints = [{ offset: this.#progress, digest: this.#digest.now() }]
  }

  /** Digests the bytes that are already in the partial file, while new chunks arrive. */
  async #catchUpInBackground(): Promise<void> {
    try {
      const agreed = await this.#digest.catchUp(this.#progress)
      // Checked again in the queue, since `finish` may have found the damage before.
      if (agreed !== undefined) await this.#queue.run(() => (this.broken ? undefined : this.#catchUp()))
      this.#checkpointer.update()
    } catch (error) {
      this.#checkpointer.fail(error)
    }
  }

  /** Completes the digest. If the partial file is damaged, goes back to the last checkpoint that agrees with it. */
  async #catchUp(): Promise<void> {
    const agreed = await this.#digest.catchUp(this.#progress)
    if (agreed === undefined) return
    const { user, name } = this.#record
    const text = `the partial file is damaged: the upload goes back from ${this.#progress} to ${agreed} bytes`
    this.#context.log({ level: 'error', event: 'upload-damaged', user, name, text })
    await this.#goBack(agreed)
  }

  /** Goes back to a checkpoint, or to 0. */
  async #goBack(offset: number): Promise<void> {
    using _ = await this.#checkpointer.hold()
    this.#checkpoints = this.#checkpoints.filter((checkpoint) => checkpoint.offset <= offset)
    this.#progress = offset
    this.#digest.rewind(offset)
    const { storage, age } = this.#context
    await storage.transfers.checkpoint(this.#claim, this.#checkpoints, age.now())
    await this.#partial.truncate(offset)
    // The digest begins again at 0.
    if (offset > 0) void this.#catchUpInBackground()
  }

  async #recordNow(): Promise<void> {
    this.#check()
    try {
      await this.#recordCheckpoint()
    } catch (error) {
      this.#checkpointer.fail(error)
      throw error
    }
  }

  async #recordCheckpoint(): Promise<void> {
    const { storage, limits, age } = this.#context
    const offset = this.#progress
    if (offset <= this.durable || this.broken) return
    // While the digest has to catch up, a checkpoint has none. The bytes before it are durable nevertheless.
    const digest = this.#digest.position === offset ? this.#digest.now() : new Uint8Array()
    const known = this.#checkpoints.filter((checkpoint) => checkpoint.digest.length > 0)
    const checkpoints = withCheckpoint(known, { offset, digest }, limits.checkpoints)
    await this.#partial.flush()
    await storage.transfers.checkpoint(this.#claim, checkpoints, age.now())
    this.#checkpoints = checkpoints
  }

  #check(): void {
    const { failure } = this.#checkpointer
    if (failure) throw failure
  }
}
