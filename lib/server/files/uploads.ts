import { fileInstance } from '../../core/instance.ts'
import { Multiset } from '../../core/multiset.ts'
import { type Instance, Pool } from '../../core/pool.ts'
import { type ErrorCode, OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Connection } from '../app.ts'
import type { ServerLog } from '../logEvents.ts'
import type { ServerGauges } from '../status.ts'
import { FairScheduler } from './fairScheduler.ts'
import { QuarantinedInstances } from './quarantinedInstances.ts'
import { type FileState, Upload } from './upload.ts'
import { UploadBounds } from './uploadBounds.ts'

/** How an instance is left, by the events of its table. */
export type Leaving = keyof (typeof fileInstance.table)['RECEIVE_FILE']

/**
 * The uploads that a server has open, and the instances that receive them. An upload whose link was lost, or that was
 * paused, stays open for a while without an instance (parked), so that its client goes on where it was.
 */
export class Uploads {
  readonly #limits: Limits
  readonly #clock: Platform['clock']
  readonly #log: ServerLog
  readonly #pool: Pool<FileState, Leaving | 'StartPostFileReq' | 'ContinuePostFileReq'>
  readonly #share: FairScheduler
  readonly #bounds: UploadBounds
  readonly #yields: (upload: Upload) => void
  readonly #known = new Map<string, Upload>()
  readonly #byInstance = new Map<number, Upload>()
  /** By the time at which they are closed, the longest parked first. */
  readonly #parked = new Map<Upload, number>()
  readonly #resting = new QuarantinedInstances()
  readonly #held = (user: string) => this.#bounds.held(user)
  #alarm: Disposable | undefined

  /** `yields` frees the instance of an upload for another one. */
  constructor(
    limits: Limits,
    { clock, random }: Pick<Platform, 'clock' | 'random'>,
    log: ServerLog,
    yields: (upload: Upload) => void,
  ) {
    this.#limits = limits
    this.#yields = yields
    this.#clock = clock
    this.#bounds = new UploadBounds(limits, random, () => this.receiving())
    this.#log = log
    this.#pool = new Pool(fileInstance, 'IDLE', limits.fileInstances)
    this.#share = new FairScheduler(2 * limits.retryAfterMs)
  }

  /** Those that an instance receives at present. */
  receiving(): Iterable<Upload> {
    return this.#byInstance.values()
  }

  /** Those that are open, received or parked. */
  open(): readonly Upload[] {
    return [...this.#known.values()]
  }

  get gauges(): Pick<ServerGauges, 'grantedChunkBytes' | 'parkedUploads' | 'waitingUploads' | 'orphanedUploads'> {
    let grantedChunkBytes = 0
    for (const { chunkBytes } of this.receiving()) grantedChunkBytes += chunkBytes
    const isOrphaned = ({ instance, transfer, queue }: Upload) => !instance && !transfer && queue.waiting === 0
    return {
      grantedChunkBytes,
      parkedUploads: this.#parked.size,
      waitingUploads: this.#share.waiting,
      orphanedUploads: this.open().filter(isOrphaned).length,
    }
  }

  /** Carries `job` out for (user, name), after what was asked about it before. */
  async run<T>(user: string, name: string, job: (upload: Upload) => Promise<T>): Promise<T> {
    const key = `${user}/${name}`
    const upload = this.#known.get(key) ?? new Upload(user, name)
    this.#known.set(key, upload)
    try {
      return await upload.run(() => job(upload))
    } finally {
      this.#forget(upload)
    }
  }

  /** The upload whose instance `caller` holds under this number; throws what it is told otherwise. */
  heldBy(caller: Connection, instance: number): Upload {
    const upload = this.#byInstance.get(this.#pool.held(instance, caller).number)
    if (!upload) throw new OspError('internal', `instance ${instance} is busy without an upload`)
    return upload
  }

  /** Whether a link holds an instance. */
  isHolder({ node }: Connection): boolean {
    return this.#bounds.heldBy(node) > 0
  }

  denial(caller: Connection, instance: number): OspError {
    return this.#pool.denial(instance, caller)
  }

  /** Gives the upload an instance. Throws OspError `too-many-uploads` or `no-idle-instance`. */
  assign(upload: Upload, caller: Connection, event: 'StartPostFileReq' | 'ContinuePostFileReq'): Instance<FileState> {
    this.#bounds.check(caller)
    const { user, name } = upload
    const now = this.#clock.now()
    if (this.#idle === 0) {
      const yielding = this.#bounds.yielding(user, now)
      if (yielding) this.#yields(yielding)
    }
    const idle = this.#idle
    const mayTake = this.#share.waiting === 0 || this.#share.mayAssign(user, idle, this.#held, now)
    const instance = mayTake ? this.#pool.assign(caller, event, (number) => !this.#rests(number, caller)) : undefined
    if (!instance) {
      // What only rests for this link is idle for others: nobody has to be kept from it.
      if (idle === 0 || !mayTake) this.#share.wait(user, name, caller.node, now)
      throw this.#bounds.noInstance(idle, mayTake)
    }
    this.#share.assigned(user, name)
    this.#byInstance.set(instance.number, upload)
    this.#bounds.took(user, caller.node)
    this.#parked.delete(upload)
    upload.assign(instance, now)
    return instance
  }

  /** Keeps a place among the caller's uploads until it is disposed. Throws OspError `too-many-uploads`. */
  reserve(caller: Connection): Disposable {
    return this.#bounds.reserve(caller)
  }

  /**
   * Moves the upload's instance to another link of the user, or makes it idle where it rests for that link; the former
   * one is told `superseded`.
   */
  move(upload: Upload, to: Connection): void {
    const { instance } = upload
    if (!instance) return
    if (this.#rests(instance.number, to)) {
      this.free(upload, 'restarted', 'superseded')
      return
    }
    this.#rest(instance)
    this.#left(upload, instance)
    this.#pool.move(instance, 'takenOver', to, 'superseded')
    this.#bounds.took(upload.user, to.node)
    upload.revokeGrant()
  }

  /** An upload that may have waited for an instance wants none any more. */
  waived({ user, name }: Upload): void {
    this.#share.assigned(user, name)
  }

  /** A link has ended: nothing of it waits any more. */
  lost({ node }: Connection): void {
    this.#share.lost(node)
  }

  /**
   * Makes the upload's instance idle; `why` is what its holder is told when it asks for it once more. `by` is the link
   * whose own request that is, if it is one: it knows that it has left the instance.
   */
  free(upload: Upload, event: Leaving, why?: ErrorCode | OspError, by?: Connection): void {
    const { instance } = upload
    if (!instance) return
    this.#byInstance.delete(instance.number)
    if (by === undefined || by !== instance.holder || !by.reliable) this.#rest(instance)
    this.#left(upload, instance)
    this.#pool.release(instance, event, why)
    upload.release()
  }

  /** Keeps an open upload without an instance for a while. */
  park(upload: Upload): void {
    if (!upload.transfer || upload.instance) return
    this.#parked.delete(upload)
    this.#parked.set(upload, this.#clock.now() + this.#limits.parkedMs)
    this.#sweep()
  }

  /** Closes what is open of an upload; its record stays as it is. Called from the upload's queue. */
  async close(upload: Upload): Promise<void> {
    if (this.#parked.delete(upload)) this.#sweep()
    try {
      await upload.close()
    } catch (error) {
      // Nothing hangs on it: what the record promises was durable before.
      const { user, name } = upload
      this.#log({ level: 'warn', event: 'upload-not-closed', user, name, text: OspError.from(error).message })
    }
  }

  /** Lets no parked upload be closed by its time any more. */
  stop(): void {
    this.#alarm?.[Symbol.dispose]()
    this.#alarm = undefined
  }

  /** Largest chunk that is granted now: an even share of the memory for chunks among the busy instances. */
  grantedChunk(): number {
    const share = this.#limits.chunkMemoryBytes / Math.max(1, this.#pool.busy)
    return Math.min(this.#limits.chunkBytes, 2 ** Math.max(0, Math.floor(Math.log2(share))))
  }

  get #idle(): number {
    return this.#pool.size - this.#pool.busy
  }

  /** Its holder is about to lose it. */
  #left({ user }: Upload, { holder }: Instance<FileState>): void {
    if (holder) this.#bounds.left(user, holder.node)
  }

  #rest({ number, holder }: Instance<FileState>): void {
    this.#resting.add(number, holder, this.#clock.now())
  }

  #rests(number: number, caller: Connection): boolean {
    return this.#resting.has(number, caller, this.#clock.now())
  }

  /** Closes the parked uploads whose time is over, and those beyond the bound: of the user who has the most, the oldest. */
  #sweep(): void {
    this.stop()
    const now = this.#clock.now()
    for (const [upload, untilMs] of this.#parked) {
      if (untilMs > now) {
        this.#alarm = this.#clock.alarm(untilMs, () => this.#sweep())
        break
      }
      this.#closeParked(upload)
    }
    if (this.#parked.size <= this.#limits.parkedUploads) return
    const counts = new Multiset()
    for (const { user } of this.#parked.keys()) counts.add(user)
    for (const upload of this.#parked.keys()) {
      if (this.#parked.size <= this.#limits.parkedUploads) return
      if (upload.user !== counts.largest) continue
      counts.remove(upload.user)
      this.#closeParked(upload)
    }
  }

  #closeParked(upload: Upload): void {
    this.#parked.delete(upload)
    void this.run(upload.user, upload.name, async () => {
      if (!upload.instance && !this.#parked.has(upload)) await this.close(upload)
    })
  }

  #forget(upload: Upload): void {
    if (upload.instance || upload.transfer) return
    const key = `${upload.user}/${upload.name}`
    if (upload.queue.waiting > 0) void upload.queue.idle().then(() => this.#forget(upload))
    else if (this.#known.get(key) === upload) this.#known.delete(key)
  }
}
