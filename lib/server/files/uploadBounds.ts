import { Multiset } from '../../core/multiset.ts'
import type { Holder } from '../../core/pool.ts'
import { type ErrorCode, OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import type { Connection } from '../app.ts'
import type { Upload } from './upload.ts'

const minTermMs = 1_000

/** Decides which instances a link and a user may hold: counts those that they hold, and those that a link must not get again. */
export class UploadBounds {
  readonly #limits: Limits
  readonly #platform: Pick<Platform, 'clock' | 'random'>
  readonly #receiving: () => Iterable<Upload>
  readonly #byUser = new Multiset()
  readonly #byNode = new Multiset()
  /** No upload has to yield before this time. */
  #noneYieldsBeforeMs = Number.NEGATIVE_INFINITY
  /** Links that are about to get an instance by a take-over, one entry for each instance. */
  readonly #reserved: Connection[] = []
  /** By link and instance number, the end of the quarantine. */
  readonly #quarantinedUntilMs = new WeakMap<Holder, Map<number, number>>()

  constructor(limits: Limits, platform: Pick<Platform, 'clock' | 'random'>, receiving: () => Iterable<Upload>) {
    this.#limits = limits
    this.#platform = platform
    this.#receiving = receiving
  }

  /** Counts an instance that a link of the user has got. */
  assigned(user: string, node: number): void {
    this.#byUser.add(user)
    this.#byNode.add(`${node}`)
  }

  /** Counts an instance that a link of the user has lost or left. */
  released(user: string, node: number): void {
    this.#byUser.remove(user)
    this.#byNode.remove(`${node}`)
  }

  /** Returns the number of instances that a user holds. */
  ofUser(user: string): number {
    return this.#byUser.of(user)
  }

  /** Returns the number of instances that a link holds. */
  ofLink(node: number): number {
    return this.#byNode.of(`${node}`)
  }

  /**
   * Keeps an instance from the link that has lost it while chunks for it may be on their way: the server would take them for
   * chunks of another upload.
   */
  quarantine(number: number, holder: Holder | undefined): void {
    if (!holder) return
    const own = this.#quarantinedUntilMs.get(holder) ?? new Map<number, number>()
    const untilMs = this.#platform.clock.now() + fixed.frameLifetimeMs
    this.#quarantinedUntilMs.set(holder, own.set(number, untilMs))
  }

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
  yielding(user: string): Upload | undefined {
    const now = this.#platform.clock.now()
    if (now < this.#noneYieldsBeforeMs) return undefined
    const own = this.ofUser(user)
    let found: { readonly upload: Upload; readonly isStalled: boolean } | undefined
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
    const count = this.ofUser(user)
    if (count < this.#limits.uploadsPerUser) return
    throw this.#full('too-many-uploads', `${user} already sends ${count} files, the maximum for one user`)
  }

  /**
   * Counts an instance that the caller takes over from another link of its user, until the result is disposed. Throws OspError
   * `too-many-uploads`.
   */
  reserve(caller: Connection): Disposable {
    this.#checkLink(caller)
    this.#reserved.push(caller)
    return {
      [Symbol.dispose]: () => {
        this.#reserved.splice(this.#reserved.indexOf(caller), 1)
      },
    }
  }

  /** Returns the error for an upload that gets none of `idle` instances. `mayTake`: they are not kept for other users. */
  noInstance(idle: number, mayTake: boolean): OspError {
    if (idle === 0) return this.#full('no-idle-instance', undefined)
    const quarantined = 'this link lost the idle instances within the last minute and cannot use them yet'
    return this.#full(
      'no-idle-instance',
      mayTake ? quarantined : 'the idle instances are kept for users who send fewer files',
    )
  }

  /** Returns a refusal with a random `retryAfter`, so that clients that were refused together come back one after another. */
  #full(code: Extract<ErrorCode, 'no-idle-instance' | 'too-many-uploads'>, text: string | undefined): OspError {
    const { retryAfterMs } = this.#limits
    const spread = 1 + this.#platform.random.fraction('when a refused upload comes back')
    return new OspError(code, text, { retryAfterMs: retryAfterMs * spread })
  }

  #checkLink({ node }: Connection): void {
    let count = this.ofLink(node)
    for (const reserved of this.#reserved) if (reserved.node === node) count++
    if (count < this.#limits.uploadsPerLink) return
    throw this.#full('too-many-uploads', `this link already sends ${count} files, the maximum for one link`)
  }
}
