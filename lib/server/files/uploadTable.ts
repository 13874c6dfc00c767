import { fileInstance } from '../../core/instance.ts'
import { Multiset } from '../../core/multiset.ts'
import { type Instance, Pool } from '../../core/pool.ts'
import { type ErrorCode, OspError } from '../../errors.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { deferred } from '../../runtime/deferred.ts'
import type { Connection, ServerContext } from '../app.ts'
import type { ServerGauges } from '../status.ts'
import { FairScheduler } from './fairScheduler.ts'
import { type FileState, type ReservationHolder, ServerUpload } from './serverUpload.ts'
import { UploadBounds } from './uploadBounds.ts'

/** The events by which an instance becomes idle. */
export type ReleaseEvent = keyof (typeof fileInstance.table)['RECEIVE_FILE']
/** The events by which the instance of a reader becomes idle. */
export type ReaderEnd = keyof (typeof fileInstance.table)['SEND_FILE']

/**
 * The uploads that a server has open, and the instances that receive them. An upload that was paused, or whose link was lost,
 * stays open without an instance for `parkedMs`, so that its client can continue at the progress.
 */
export class UploadTable {
  readonly scheduler: FairScheduler
  readonly bounds: UploadBounds
  readonly #context: Pick<ServerContext, 'limits' | 'platform' | 'log'>
  readonly #pool: Pool<FileState, ReleaseEvent | ReaderEnd | 'StartPostFileReq' | 'ContinuePostFileReq' | 'ReadFileReq'>
  readonly #onYield: (upload: ServerUpload) => void
  /** Releases the instance of a reader, if one can be spared. Called when there is no idle instance. */
  onNoIdle: () => void = () => {}
  /** Holders of a reservation other than uploads. */
  readonly #otherHolders = new Set<ReservationHolder>()
  /** By user and name, the uploads that are open, or that a request is running or waiting for. */
  readonly #known = new Map<string, ServerUpload>()
  readonly #byInstance = new Map<number, ServerUpload>()
  /** The end of the time of each parked upload, earliest first. */
  readonly #parked = new Map<ServerUpload, number>()
  readonly #alarm: Alarm

  /** `onYield` releases the instance of an upload for an upload of another user. */
  constructor(context: Pick<ServerContext, 'limits' | 'platform' | 'log'>, onYield: (upload: ServerUpload) => void) {
    const { limits, platform } = context
    this.#context = context
    this.#onYield = onYield
    this.bounds = new UploadBounds(limits, platform, () => this.receiving())
    this.#pool = new Pool(fileInstance, 'IDLE', limits.fileInstances)
    this.scheduler = new FairScheduler(2 * limits.retryAfterMs)
    this.#alarm = new Alarm(platform.clock, () => this.#sweep())
  }

  /** The uploads that have an instance. */
  receiving(): Iterable<ServerUpload> {
    return this.#byInstance.values()
  }

  known(): readonly ServerUpload[] {
    return [...this.#known.values()]
  }

  get gauges(): Pick<ServerGauges, 'grantedChunkBytes' | 'parkedUploads' | 'waitingUploads' | 'orphanedUploads'> {
    let grantedChunkBytes = 0
    for (const { chunkBytes } of this.receiving()) grantedChunkBytes += chunkBytes
    const isOrphaned = ({ instance, transfer, queue }: ServerUpload) => !instance && !transfer && queue.waiting === 0
    return {
      grantedChunkBytes,
      parkedUploads: this.#parked.size,
      waitingUploads: this.scheduler.waiting,
      orphanedUploads: this.known().filter(isOrphaned).length,
    }
  }

  /** Runs `job` for (user, name), after the earlier requests about it. */
  async run<T>(user: string, name: string, job: (upload: ServerUpload) => Promise<T>): Promise<T> {
    const key = `${user}/${name}`
    const upload = this.#known.get(key) ?? new ServerUpload(user, name)
    this.#known.set(key, upload)
    try {
      return await upload.run(() => job(upload))
    } finally {
      this.#forget(upload)
    }
  }

  /**
   * Creates and registers an upload if none is known under this name; otherwise returns `undefined`. Pass the result to
   * `runTogether` in the same turn, before another request can see it.
   */
  createIfUnknown(user: string, name: string): ServerUpload | undefined {
    const key = `${user}/${name}`
    if (this.#known.has(key)) return undefined
    const upload = new ServerUpload(user, name)
    this.#known.set(key, upload)
    return upload
  }

  /** Runs one job while it holds the queues of these uploads, each of which came from `createIfUnknown`. */
  async runTogether(uploads: readonly ServerUpload[], job: () => Promise<void>): Promise<void> {
    const ended = deferred<void>()
    for (const { queue } of uploads) queue.hold(ended.promise)
    try {
      await job()
    } finally {
      for (const { queue } of uploads) queue.release()
      ended.resolve()
      for (const upload of uploads) this.#forget(upload)
    }
  }

  /** Registers a reservation that belongs to no upload. Disposing of the result ends it. */
  reserving(holder: ReservationHolder): Disposable {
    this.#otherHolders.add(holder)
    const dispose = () => {
      this.#otherHolders.delete(holder)
      holder.reserved = undefined
    }
    return { [Symbol.dispose]: dispose }
  }

  /** Yields all holders of a reservation. */
  *reservationHolders(): Generator<ReservationHolder> {
    for (const upload of this.#known.values()) if (upload.reserved) yield upload
    for (const holder of this.#otherHolders) if (holder.reserved) yield holder
  }

  /**
   * Returns the upload whose instance the caller holds under this number. Throws `denial` if the caller does not hold it for an
   * upload.
   */
  heldBy(caller: Connection, instance: number): ServerUpload {
    const upload = this.#byInstance.get(this.#pool.held(instance, caller).number)
    // The caller has lost its upload, and this instance now reads a stored file for it.
    if (!upload) throw this.denial(caller, instance)
    return upload
  }

  /** Returns the error for a caller that does not hold an instance: the reason why it lost it, as far as it is remembered. */
  denial(caller: Connection, instance: number): OspError {
    return this.#pool.denial(instance, caller)
  }

  /** Assigns an instance to the upload. Throws OspError `too-many-uploads` or `no-idle-instance`. */
  assign(
    upload: ServerUpload,
    caller: Connection,
    event: 'StartPostFileReq' | 'ContinuePostFileReq',
  ): Instance<FileState> {
    this.bounds.check(caller)
    const { user } = upload
    const now = this.#context.platform.clock.now()
    if (this.#idle === 0) this.onNoIdle()
    if (this.#idle === 0) {
      const yielding = this.bounds.yielding(user)
      if (yielding) this.#onYield(yielding)
    }
    const idle = this.#idle
    const held = (other: string) => this.bounds.ofUser(other)
    const mayTake = this.scheduler.mayAssign(user, idle, held, now)
    const isFit = (number: number) => !this.bounds.isQuarantined(number, caller)
    const instance = mayTake ? this.#pool.assign(caller, event, isFit) : undefined
    if (!instance) {
      // If idle instances are only quarantined for this link, others can have them, and none must be kept for it.
      if (idle === 0 || !mayTake) this.scheduler.wait(upload, caller.node, now)
      throw this.bounds.noInstance(idle, mayTake)
    }
    this.scheduler.remove(upload)
    this.#byInstance.set(instance.number, upload)
    this.bounds.assigned(user, caller.node)
    this.#parked.delete(upload)
    upload.assign(instance, now)
    return instance
  }

  /** Assigns an instance to a reader. Throws OspError `no-idle-instance`. */
  assignReader(caller: Connection): Instance<FileState> {
    if (this.#idle === 0) this.onNoIdle()
    const instance = this.#pool.assign(caller, 'ReadFileReq')
    if (!instance) throw this.bounds.noInstance(0, true)
    return instance
  }

  releaseReader(instance: Instance<FileState>, event: ReaderEnd): void {
    this.#pool.release(instance, event)
  }

  /** Moves the upload's instance to another link of its user, or releases it if it is quarantined for that link. */
  move(upload: ServerUpload, to: Connection): void {
    const { instance } = upload
    if (!instance) return
    if (this.bounds.isQuarantined(instance.number, to)) {
      this.release(upload, 'restarted', 'superseded')
      return
    }
    this.bounds.released(upload.user, instance, false)
    this.#pool.move(instance, 'takenOver', to, 'superseded')
    this.bounds.assigned(upload.user, to.node)
    // The grant was for the former holder.
    upload.chunkBytes = 0
  }

  /**
   * Makes the upload's instance idle. The next request of its holder fails with `reason`. The instance is quarantined for the
   * holder, unless the release is the holder's own request: `by` is the link of that request.
   */
  release(upload: ServerUpload, event: ReleaseEvent, reason?: ErrorCode | OspError, by?: Connection): void {
    const { instance } = upload
    if (!instance) return
    this.#byInstance.delete(instance.number)
    const isOwnRequest = by !== undefined && by === instance.holder && by.reliable
    this.bounds.released(upload.user, instance, isOwnRequest)
    this.#pool.release(instance, event, reason)
    upload.instance = undefined
  }

  /** Keeps an upload without an instance open for `parkedMs`. Closes an upload without a transfer. */
  async park(upload: ServerUpload): Promise<void> {
    if (!upload.transfer) return this.close(upload)
    if (upload.instance) return
    await upload.transfer.release()
    upload.reserved = undefined
    this.#parked.delete(upload)
    this.#parked.set(upload, this.#context.platform.clock.now() + this.#context.limits.parkedMs)
    this.#sweep()
  }

  /** Releases the instance of an upload, and closes the upload, from a job of its queue. */
  async end(upload: ServerUpload, event: ReleaseEvent, reason?: ErrorCode | OspError, by?: Connection): Promise<void> {
    this.release(upload, event, reason, by)
    await this.close(upload)
  }

  /** Closes an upload, from a job of its queue. The record stays as it is. */
  async close(upload: ServerUpload): Promise<void> {
    this.#parked.delete(upload)
    try {
      await upload.close()
    } catch (error) {
      // The bytes up to the last checkpoint are durable already.
      const { user, name } = upload
      this.#context.log({ level: 'warn', event: 'upload-not-closed', user, name, text: OspError.from(error).message })
    }
    if (!upload.instance) upload.reserved = undefined
  }

  stop(): void {
    this.#alarm.stop()
  }

  /** Returns the largest chunk to grant now: an even share of the memory for chunks among the busy instances. */
  grantedChunk(): number {
    const share = this.#context.limits.chunkMemoryBytes / Math.max(1, this.#pool.busy)
    return Math.min(this.#context.limits.chunkBytes, 2 ** Math.max(0, Math.floor(Math.log2(share))))
  }

  get #idle(): number {
    return this.#pool.size - this.#pool.busy
  }

  /** Closes parked uploads after their time, and beyond `parkedUploads` the oldest ones of the user who has the most. */
  #sweep(): void {
    const now = this.#context.platform.clock.now()
    for (const [upload, untilMs] of this.#parked) {
      if (untilMs > now) {
        this.#alarm.by(untilMs)
        break
      }
      this.#closeParked(upload)
    }
    if (this.#parked.size <= this.#context.limits.parkedUploads) return
    const counts = new Multiset()
    for (const { user } of this.#parked.keys()) counts.add(user)
    for (const upload of this.#parked.keys()) {
      if (this.#parked.size <= this.#context.limits.parkedUploads) return
      if (upload.user !== counts.largest) continue
      counts.remove(upload.user)
      this.#closeParked(upload)
    }
  }

  #closeParked(upload: ServerUpload): void {
    this.#parked.delete(upload)
    void this.run(upload.user, upload.name, async () => {
      if (!upload.instance && !this.#parked.has(upload)) await this.close(upload)
    })
  }

  #forget(upload: ServerUpload): void {
    if (upload.instance || upload.transfer) return
    const key = `${upload.user}/${upload.name}`
    if (upload.queue.waiting > 0) void upload.queue.idle().then(() => this.#forget(upload))
    else if (this.#known.get(key) === upload) this.#known.delete(key)
  }
}
