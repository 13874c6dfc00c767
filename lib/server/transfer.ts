import { OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { Platform } from '../ports/platform.ts'
import type { Checkpoint, Claim, PartialFile, Storage, StoredFile, TransferRecord } from '../ports/storage.ts'
import { FollowingDigest, same } from '../runtime/followingDigest.ts'
import { hex } from '../runtime/hex.ts'
import type { Serial } from '../runtime/serial.ts'
import type { Parts } from '../wire/codec.ts'
import { lengthOf } from '../wire/codec.ts'
import { withCheckpoint } from './checkpoints.ts'
import { type PublishOptions, publish } from './publish.ts'

export interface TransferOptions extends PublishOptions {
  readonly platform: Platform
  readonly limits: Limits
  readonly storage: Storage
}

/**
 * The bytes of one upload on the server: written, digested, made durable at checkpoints, verified and published. Its
 * methods that change something are called one after another, from `queue`; checkpoints run beside them.
 */
export class Transfer {
  readonly #options: TransferOptions
  readonly #queue: Serial
  readonly #record: TransferRecord
  readonly #digest: FollowingDigest
  #claim: Claim
  #partial: PartialFile
  #checkpoints: readonly Checkpoint[]
  #progress: number
  #flushing: Promise<void> | undefined
  #alarm: Disposable | undefined
  #failure: OspError | undefined

  private constructor(options: TransferOptions, queue: Serial, claimed: Claimed, partial: PartialFile) {
    this.#options = options
    this.#queue = queue
    this.#claim = claimed.claim
    this.#record = claimed.record
    this.#partial = partial
    const { size, algorithm } = claimed.record
    this.#checkpoints = claimed.record.checkpoints.filter(({ offset }) => offset <= Math.min(size, partial.length))
    this.#progress = this.durable
    this.#digest = new FollowingDigest({
      digests: options.platform.digests,
      algorithm,
      marks: this.#checkpoints,
      read: (into, offset) => this.#partial.read(into, offset),
    })
  }

  /** Takes up a claimed upload where its last checkpoint stands. */
  static async open(options: TransferOptions, queue: Serial, claimed: Claimed): Promise<Transfer> {
    await options.platform.digests.load(claimed.record.algorithm)
    const partial = await options.storage.files.open(claimed.claim)
    const transfer = new Transfer(options, queue, claimed, partial)
    if (partial.length > transfer.#progress) await partial.truncate(transfer.#progress)
    void transfer.#followUp()
    return transfer
  }

  /** What it is the upload of. */
  get record(): TransferRecord {
    return this.#record
  }

  /** Leading bytes that were written. */
  get progress(): number {
    return this.#progress
  }

  /** Leading bytes that a restarted server will take up: those before the last recorded checkpoint. */
  get durable(): number {
    return this.checkpoint?.offset ?? 0
  }

  get checkpoint(): Checkpoint | undefined {
    return this.#checkpoints.at(-1)
  }

  /** Goes on under a new claim, as it stands. */
  async reclaim(claim: Claim): Promise<void> {
    await this.#flushing
    await this.#partial[Symbol.asyncDispose]()
    this.#claim = claim
    this.#partial = await this.#options.storage.files.open(claim)
  }

  /** Appends `parts` at the progress. */
  async write(parts: Parts): Promise<void> {
    this.#check()
    const offset = this.#progress
    await this.#partial.write(offset, parts)
    this.#digest.follow(offset, parts)
    this.#progress += lengthOf(parts)
    this.#checkpointWhenDue()
  }

  /** Makes durable what is written and digested so far. */
  async flush(): Promise<void> {
    await this.#flushing
    this.#check()
    await this.#flush()
    this.#check()
  }

  /**
   * Verifies the whole file against `digest` and publishes it. Rejects with OspError `wrong-offset` if bytes are
   * missing (nothing has changed, but the progress may have fallen where damage was found), or `digest-mismatch` (the
   * progress is cleared); both carry the progress.
   */
  async finish(digest: Uint8Array): Promise<StoredFile> {
    this.#check()
    const { size } = this.#record
    if (this.#progress === size) await this.#catchUp()
    if (this.#progress < size) throw new OspError('wrong-offset', undefined, { progress: this.#progress })
    const own = this.#digest.now()
    if (!same(own, digest)) {
      await this.#goBack(0)
      throw new OspError('digest-mismatch', undefined, { progress: 0 })
    }
    this.#silence()
    await this.#flushing
    await this.#partial.flush()
    return this.#publish(own)
  }

  /** Lets go of it; the record stays at its last checkpoint. */
  async close(): Promise<void> {
    this.#silence()
    this.#failure ??= new OspError('closed')
    await this.#flushing
    await this.#partial[Symbol.asyncDispose]()
  }

  async #publish(own: Uint8Array): Promise<StoredFile> {
    const { user, name, size, algorithm } = this.#record
    const file = { user, name, storedName: name, size, algorithm, digest: hex(own) }
    return publish(this.#options, this.#claim, this.#partial, file, false)
  }

  /** Lets the digest catch up with a partial file that this process has not written, and goes back if it is damaged. */
  async #followUp(): Promise<void> {
    try {
      const agreed = await this.#digest.catchUp(this.#progress)
      if (agreed !== undefined) await this.#queue.run(() => (this.#failure ? undefined : this.#goBack(agreed)))
    } catch (error) {
      this.#failure ??= OspError.from(error)
    }
  }

  async #catchUp(): Promise<void> {
    const agreed = await this.#digest.catchUp(this.#progress)
    if (agreed !== undefined) await this.#goBack(agreed)
  }

  /** Begins again at a checkpoint that holds (0: at none). */
  async #goBack(offset: number): Promise<void> {
    await this.#flushing
    this.#checkpoints = this.#checkpoints.filter((checkpoint) => checkpoint.offset <= offset)
    this.#progress = offset
    this.#digest.rewind(offset)
    await this.#options.storage.transfers.checkpoint(this.#claim, this.#checkpoints)
    await this.#partial.truncate(offset)
  }

  #checkpointWhenDue(): void {
    const { limits, platform } = this.#options
    if (this.#progress - this.durable >= limits.checkpointBytes) {
      this.#silence()
      void this.#flush()
    } else if (!this.#alarm && this.#progress > this.durable) {
      this.#alarm = platform.clock.alarm(platform.clock.now() + limits.checkpointMs, () => {
        this.#alarm = undefined
        void this.#flush()
      })
    }
  }

  #silence(): void {
    this.#alarm?.[Symbol.dispose]()
    this.#alarm = undefined
  }

  /** Never rejects: a failure is kept for the next call that asks. */
  #flush(): Promise<void> {
    this.#flushing ??= this.#recordCheckpoint()
      .catch((error: unknown) => {
        this.#failure ??= OspError.from(error)
      })
      .finally(() => {
        this.#flushing = undefined
      })
    return this.#flushing
  }

  async #recordCheckpoint(): Promise<void> {
    const { storage, limits } = this.#options
    const offset = this.#digest.position
    if (offset <= this.durable || this.#failure) return
    const checkpoints = withCheckpoint(this.#checkpoints, { offset, digest: this.#digest.now() }, limits.checkpoints)
    await this.#partial.flush()
    await storage.transfers.checkpoint(this.#claim, checkpoints)
    this.#checkpoints = checkpoints
  }

  #check(): void {
    if (this.#failure) throw this.#failure
  }
}

type Claimed = { readonly claim: Claim; readonly record: TransferRecord }
