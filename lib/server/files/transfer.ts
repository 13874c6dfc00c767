import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type {
  Checkpoint,
  Claim,
  Claimed,
  PartialFile,
  Storage,
  StoredFile,
  TransferRecord,
} from '../../ports/storage.ts'
import { hex } from '../../runtime/hex.ts'
import { IncrementalDigest, same } from '../../runtime/incrementalDigest.ts'
import type { Mutex } from '../../runtime/mutex.ts'
import type { Parts } from '../../wire/codec.ts'
import { lengthOf } from '../../wire/codec.ts'
import type { Connection } from '../app.ts'
import type { RetentionClock } from '../retentionClock.ts'
import { Checkpointer, withCheckpoint } from './checkpointer.ts'
import { type PublishOptions, publish } from './publish.ts'

export interface TransferOptions extends PublishOptions {
  readonly platform: Platform
  readonly limits: Limits
  readonly storage: Storage
  readonly age: Pick<RetentionClock, 'now'>
}

/**
 * The bytes of one upload on the server: written, digested, made durable at checkpoints, verified and published. Its
 * methods that change something are called one after another, from `queue`; checkpoints run beside them.
 */
export class Transfer {
  readonly #options: TransferOptions
  readonly #queue: Mutex
  readonly #record: TransferRecord
  readonly #digest: IncrementalDigest
  #claim: Claim
  #partial: PartialFile
  #checkpoints: readonly Checkpoint[]
  #progress: number
  readonly #checkpointer: Checkpointer

  private constructor(options: TransferOptions, queue: Mutex, claimed: Taken, partial: PartialFile) {
    this.#options = options
    this.#queue = queue
    this.#claim = claimed.claim
    this.#record = claimed.record
    this.#partial = partial
    const { size, algorithm } = claimed.record
    this.#checkpoints = claimed.record.checkpoints.filter(({ offset }) => offset <= Math.min(size, partial.length))
    this.#progress = this.durable
    this.#digest = new IncrementalDigest({
      digests: options.platform.digests,
      algorithm,
      marks: this.#checkpoints.filter(({ digest }) => digest.length > 0),
      read: (into, offset) => this.#read(into, offset),
    })
    this.#checkpointer = new Checkpointer({
      clock: options.platform.clock,
      limits: options.limits,
      pending: () => this.#progress - this.durable,
      record: () => this.#recordCheckpoint(),
    })
  }

  /** Takes up a claimed upload where its last checkpoint stands. */
  static async open(options: TransferOptions, queue: Mutex, claimed: Taken): Promise<Transfer> {
    await options.platform.digests.load(claimed.record.algorithm)
    const partial = await options.storage.files.open(claimed.claim)
    try {
      const transfer = new Transfer(options, queue, claimed, partial)
      if (partial.length > transfer.#progress) await partial.truncate(transfer.#progress)
      if (transfer.durable > 0 && !transfer.checkpoint) await transfer.#digestAll()
      void transfer.#followUp()
      return transfer
    } catch (error) {
      await partial[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Leading bytes that were written. */
  get progress(): number {
    return this.#progress
  }

  /** Leading bytes that a restarted server will take up: those before the last recorded checkpoint. */
  get durable(): number {
    return this.#checkpoints.at(-1)?.offset ?? 0
  }

  /** The last checkpoint whose digest is known. */
  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoints.findLast(({ digest }) => digest.length > 0)
  }

  /** Whether something has failed that only opening it anew can mend. */
  get broken(): boolean {
    return this.#checkpointer.failure !== undefined
  }

  /**
   * Goes on, as it stands, under the claim that `claiming` makes; where that rejects, it goes on under the former one. No
   * checkpoint runs meanwhile: under the former claim it would fail.
   */
  async reclaim(claiming: () => Promise<Claimed>): Promise<void> {
    using _ = await this.#checkpointer.hold()
    // First, so that a fault on the way costs nothing that was written.
    await this.#recordNow()
    const claimed = await claiming()
    if ('completed' in claimed) throw new OspError('internal', `the record of ${this.#record.name} is gone`)
    const partial = await this.#options.storage.files.open(claimed.claim)
    const former = this.#partial
    this.#claim = claimed.claim
    // At once, since the digest may be reading what it has to catch up with.
    this.#partial = partial
    await former[Symbol.asyncDispose]()
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

  /** Makes durable what is written so far. */
  async flush(): Promise<void> {
    using _ = await this.#checkpointer.hold()
    await this.#recordNow()
  }

  /**
   * Verifies the whole file against `digest` and publishes it. Rejects with OspError `wrong-offset` if bytes are
   * missing (nothing has changed, but the progress may have fallen where damage was found), or `digest-mismatch` (the
   * progress is cleared); both carry the progress. `by` is whose request that is; `published` is called as soon as the file
   * counts among the published ones.
   */
  async finish(digest: Uint8Array, by: Connection, published: () => void): Promise<StoredFile> {
    this.#check()
    using _ = await this.#checkpointer.hold()
    const { user, name, size, algorithm } = this.#record
    if (this.#progress === size) await this.#catchUp()
    if (this.#progress < size) throw new OspError('wrong-offset', undefined, { progress: this.#progress })
    const own = this.#digest.now()
    if (!same(own, digest)) {
      await this.#goBack(0)
      throw new OspError('digest-mismatch', undefined, { progress: 0 })
    }
    // A flush that failed once is not to be trusted the second time: what it was to write may be gone.
    this.#check()
    await this.#partial.flush()
    const file = { user, name, storedName: name, replaced: false, size, algorithm, digest: hex(own) }
    return publish(this.#options, { claim: this.#claim, partial: this.#partial, file, begun: false, by, published })
  }

  /** Lets go of it; the record stays at its last checkpoint. */
  async close(): Promise<void> {
    this.#checkpointer.fail(new OspError('closed'))
    await this.#checkpointer.hold()
    await this.#partial[Symbol.asyncDispose]()
  }

  async #read(into: Uint8Array, offset: number): Promise<number> {
    const partial = this.#partial
    try {
      return await partial.read(into, offset)
    } catch (error) {
      if (partial === this.#partial) throw error
      // It was closed, because the upload goes on under a new claim.
      return this.#read(into, offset)
    }
  }

  /**
   * Computes the digest of a partial file whose record was lost. The client compares it before it continues, and
   * restarts at once if its bytes differ.
   */
  async #digestAll(): Promise<void> {
    await this.#digest.catchUp(this.#progress)
    this.#checkpoints = [{ offset: this.#progress, digest: this.#digest.now() }]
  }

  /** Lets the digest catch up with a partial file that this process has not written, and goes back if it is damaged. */
  async #followUp(): Promise<void> {
    try {
      const agreed = await this.#digest.catchUp(this.#progress)
      // Asked again in its turn, since the end of the file may have found and mended it by then.
      if (agreed !== undefined) await this.#queue.run(() => (this.broken ? undefined : this.#catchUp()))
      this.#checkpointer.update()
    } catch (error) {
      this.#checkpointer.fail(error)
    }
  }

  async #catchUp(): Promise<void> {
    const agreed = await this.#digest.catchUp(this.#progress)
    if (agreed === undefined) return
    const { user, name } = this.#record
    const text = `the partial file is damaged: of ${this.#progress} bytes it goes back to ${agreed}`
    this.#options.log({ level: 'error', event: 'upload-damaged', user, name, text })
    await this.#goBack(agreed)
  }

  /** Begins again at a checkpoint that holds (0: at none). */
  async #goBack(offset: number): Promise<void> {
    using _ = await this.#checkpointer.hold()
    this.#checkpoints = this.#checkpoints.filter((checkpoint) => checkpoint.offset <= offset)
    this.#progress = offset
    this.#digest.rewind(offset)
    const { storage, age } = this.#options
    await storage.transfers.checkpoint(this.#claim, this.#checkpoints, age.now())
    await this.#partial.truncate(offset)
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
    const { storage, limits, age } = this.#options
    const offset = this.#progress
    if (offset <= this.durable || this.broken) return
    // While the digest is behind, a checkpoint is without one: what lies before it is durable all the same.
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

type Taken = { readonly claim: Claim; readonly record: TransferRecord }
