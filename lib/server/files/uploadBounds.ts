import { Multiset } from '../../core/multiset.ts'
import { type ErrorCode, OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { Random } from '../../ports/platform.ts'
import type { Connection } from '../app.ts'
import type { Upload } from './upload.ts'

const termAtLeastMs = 1_000

/** How many instances each link and each user holds, and may hold; counted as it changes. */
export class UploadBounds {
  readonly #limits: Limits
  readonly #random: Random
  readonly #receiving: () => Iterable<Upload>
  readonly #byUser = new Multiset()
  readonly #byNode = new Multiset()
  /** Before it no upload has to leave its instance. */
  #noneYieldsBeforeMs = Number.NEGATIVE_INFINITY
  /** Links that are about to get an instance by a take-over, once for each. */
  readonly #reserved: Connection[] = []

  constructor(limits: Limits, random: Random, receiving: () => Iterable<Upload>) {
    this.#limits = limits
    this.#random = random
    this.#receiving = receiving
  }

  /** A link of `user` has got an instance. */
  took(user: string, node: number): void {
    this.#byUser.add(user)
    this.#byNode.add(`${node}`)
  }

  /** It holds one no more. */
  left(user: string, node: number): void {
    this.#byUser.remove(user)
    this.#byNode.remove(`${node}`)
  }

  held(user: string): number {
    return this.#byUser.of(user)
  }

  heldBy(node: number): number {
    return this.#byNode.of(`${node}`)
  }

  /**
   * The upload that is to leave its instance to one of `user`, if there is one: of the user who holds the most. That is one that
   * has long not got further, if its user holds more than `user`, or else one that has long had its instance, if its user holds
   * two more: bytes that trickle in keep no instance from a user who holds fewer. The more instances a user holds, the sooner:
   * `stalledMs` divided by their number, but not before a second has passed.
   */
  yielding(user: string, now: number): Upload | undefined {
    if (now < this.#noneYieldsBeforeMs) return undefined
    const own = this.held(user)
    let found: { readonly upload: Upload; readonly isStalled: boolean } | undefined
    let earliestMs = now + termAtLeastMs
    for (const upload of this.#receiving()) {
      const held = this.held(upload.user)
      const termMs = Math.max(termAtLeastMs, this.#limits.stalledMs / held)
      earliestMs = Math.min(earliestMs, upload.assignedAtMs + termMs)
      const isStalled = upload.progressedAtMs + termMs <= now && upload.queue.waiting === 0 && held > own
      const hasHadItsTerm = upload.assignedAtMs + termMs <= now && held > own + 1
      if (!isStalled && !hasHadItsTerm) continue
      const most = found ? this.held(found.upload.user) : 0
      if (held > most || (held === most && isStalled && !found?.isStalled)) found = { upload, isStalled }
    }
    this.#noneYieldsBeforeMs = earliestMs
    return found?.upload
  }

  /** Throws OspError `too-many-uploads` where the caller can't have another instance. */
  check(caller: Connection): void {
    this.#checkLink(caller)
    const { user } = caller
    const count = this.held(user)
    if (count < this.#limits.uploadsPerUser) return
    throw this.#full('too-many-uploads', `${user} sends ${count} files already, as many as the server allows one user`)
  }

  /**
   * Keeps a place among the caller's uploads, for one that the user holds already, until it is disposed. Throws OspError
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

  /** That none of `idle` instances is given to who asks: where `mayTake` is false they are kept for others, else they rest. */
  noInstance(idle: number, mayTake: boolean): OspError {
    if (idle === 0) return this.#full('no-idle-instance', undefined)
    const resting = 'this link has lost what is idle within the last minute, and gets it again only after that'
    return this.#full('no-idle-instance', mayTake ? resting : 'users who send fewer files come first')
  }

  /** A refusal that passes by itself. Those who were refused together come back one after another. */
  #full(code: Extract<ErrorCode, 'no-idle-instance' | 'too-many-uploads'>, text: string | undefined): OspError {
    const { retryAfterMs } = this.#limits
    const spread = 1 + this.#random.fraction('when a refused upload comes back')
    return new OspError(code, text, { retryAfterMs: retryAfterMs * spread })
  }

  #checkLink({ node }: Connection): void {
    let count = this.heldBy(node)
    for (const reserved of this.#reserved) if (reserved.node === node) count++
    if (count < this.#limits.uploadsPerLink) return
    throw this.#full('too-many-uploads', `this link sends ${count} files already, as many as the server allows`)
  }
}
