import { Multiset } from '../../core/multiset.ts'
import type { Holder, Instance } from '../../core/pool.ts'
import { type ErrorCode, OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Connection } from '../app.ts'
import type { ServerUpload } from './serverUpload.ts'

const minTermMs = 1_000

/** Decides which instances a link and a user may hold: counts those that they hold, and those that a link must not get again. */
export class UploadBounds {
  readonly #limits: Limits
  readonly #platform: Pick<Platform, 'clock' | 'random'>
  readonly #receiving: () => Iterable<ServerUpload>
  readonly #byUser = new Multiset()
  readonly #byNode = new Multiset()
  /** No upload has to yield before this time. */
  #noneYieldsBeforeMs = Number.NEGATIVE_INFINITY
  /** By link and instance number, the end of the quarantine. */
  readonly #quarantinedUntilMs = new WeakMap<Holder, Map<number, number>>()

  constructor(limits: Limits, platform: Pick<Platform, 'clock' | 'random'>, receiving: () => Iterable<ServerUpload>) {
    this.#limits = limits
    this.#platform = platform
    this.#receiving = receiving
  }

  /** Counts an instance that was assigned to a link of the user. */
  assigned(user: string, node: number): void {
    this.#byUser.add(user)
    this.#byNode.add(`${node}`)
  }

  /** Counts an instance that its holder has lost, or has left by its own request. */
  released(user: string, { number, holder }: Pick<Instance<string>, 'number' | 'holder'>, isOwnRequest: boolean): void {
    if (!holder) return
    this.#byUser.remove(user)
    this.#byNode.remove(`${holder.node}`)
    if (isOwnRequest) return
    // Chunks for the instance may be on their way. If this link got it again, they would be taken for chunks of another upload.
    const own = this.#quarantinedUntilMs.get(holder) ?? new Map<number, number>()
    const untilMs = this.#platform.clock.now() + fixed.frameLifetimeMs
    this.#quarantinedUntilMs.set(holder, own.set(number, untilMs))
  }

  /** Returns the number of instances that a user holds. */
  ofUser(user: string): number {
    return this.#byUser.of(user)
  }

  /** Returns the number of instances that a link holds. */
  ofLink(node: number): number {
    return this.#byNode.of(`${node}`)
  }

  /** Returns whether a link has lost an instance so recently that it must not get it again. */
  isQuarantined(number: number, holder: Holder): boolean {
    return (this.#quarantinedUntilMs.get(holder)?.get(number) ?? 0) > this.#platform.clock.now()
  }

  /**
   * Returns the upload that must yield its instance to an upload of `user`, if there is one. It is an upload of the user who
   * holds the most instances, after its term: `stalledMs` divided by the number of these instances, and at least one second.
   *
   * A stalled upload, without progress for its term, yields to users who hold fewer. An upload that has held its instance
   * for its term yields to users who hold at least two fewer, so that bytes that trickle in do not keep the instance.
   */
  yielding(user: string): ServerUpload | undefined {
    const now = this.#platform.clock.now()
    if (now < this.#noneYieldsBeforeMs) return undefined
    const own = this.ofUser(user)
    let found: { readonly upload: ServerUpload; readonly isStalled: boolean } | undefined
    let earliestMs = now + minTermMs
    for (const upload of this.#receiving()) {
      const held = this.ofUser(upload.user)
      const termMs = Math.max(minTermMs, this.#limits.stalledMs / held)
      earliestMs = Math.min(earliestMs, upload.assignedAtMs + termMs)
      const isStalled = upload.progressedAtMs + termMs <= now && upload.queue.waiting === 0 && held > own
      const isOverTerm = upload.assignedAtMs + termMs <= now && held > own + 1
      if (!isStalled && !isOverTerm) continue
      const most = found ? this.ofUser(found.upload.user) : 0
      if (held > most || (held === most && isStalled && !found?.isStalled)) found = { upload, isStalled }
    }
    this.#noneYieldsBeforeMs = earliestMs
    return found?.upload
  }

  /** Throws OspError `too-many-uploads` if the caller must not have another instance. */
  check(caller: Connection): void {
    this.#checkLink(caller)
    const { user } = caller
    this.checkUser(user, this.ofUser(user))
  }

  /** Throws OspError `too-many-uploads` if the user must not have another instance beside `count` ones. */
  checkUser(user: string, count: number): void {
    if (count < this.#limits.uploadsPerUser) return
    throw this.#full('too-many-uploads', `${user} already sends ${count} files, the maximum for one user`)
  }

  /** Counts an instance that the caller takes over, until disposal. Throws OspError `too-many-uploads`. */
  reserve(caller: Connection): Disposable {
    this.#checkLink(caller)
    const node = `${caller.node}`
    this.#byNode.add(node)
    return { [Symbol.dispose]: () => this.#byNode.remove(node) }
  }

  /** Returns the error for an upload that gets none of `idle` instances. `mayTake`: they are not kept for other users. */
  noInstance(idle: number, mayTake: boolean): OspError {
    const text = mayTake
      ? 'this link lost the idle instances within the last minute and cannot use them yet'
      : 'the idle instances are kept for users who send fewer files'
    return this.#full('no-idle-instance', idle === 0 ? undefined : text)
  }

  /** Returns a refusal with a random `retryAfter`, so that clients that were refused together come back one after another. */
  #full(code: Extract<ErrorCode, 'no-idle-instance' | 'too-many-uploads'>, text: string | undefined): OspError {
    const { retryAfterMs } = this.#limits
    const spread = 1 + this.#platform.random.fraction('when a refused upload comes back')
    return new OspError(code, text, { retryAfterMs: retryAfterMs * spread })
  }

  #checkLink({ node }: Connection): void {
    const count = this.ofLink(node)
    if (count < this.#limits.uploadsPerLink) return
    throw this.#full('too-many-uploads', `this link already sends ${count} files, the maximum for one link`)
  }
}
