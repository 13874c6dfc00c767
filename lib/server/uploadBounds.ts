import { type ErrorCode, OspError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { Random } from '../ports/platform.ts'
import type { Caller } from './app.ts'
import type { Upload } from './upload.ts'

/** How many instances each link and each user holds, and may hold. */
export class UploadBounds {
  readonly #limits: Limits
  readonly #random: Random
  readonly #receiving: () => Iterable<Upload>
  /** Links that are about to get an instance by a take-over, once for each. */
  readonly #reserved: Caller[] = []

  constructor(limits: Limits, random: Random, receiving: () => Iterable<Upload>) {
    this.#limits = limits
    this.#random = random
    this.#receiving = receiving
  }

  /** By user. */
  held(): ReadonlyMap<string, number> {
    const held = new Map<string, number>()
    for (const { user } of this.#receiving()) held.set(user, (held.get(user) ?? 0) + 1)
    return held
  }

  heldBy(node: number): number {
    let count = 0
    for (const { instance } of this.#receiving()) if (instance?.holder?.node === node) count++
    return count
  }

  /**
   * The upload that is to leave its instance to one of `user`: of those that have long not got further, and whose users hold
   * more, one of who holds the most.
   */
  stalled(user: string, now: number): Upload | undefined {
    const held = this.held()
    const count = (of: string) => held.get(of) ?? 0
    let found: Upload | undefined
    for (const upload of this.#receiving()) {
      const isStalled = upload.movedAtMs + this.#limits.stalledMs <= now && upload.queue.waiting === 0
      if (isStalled && count(upload.user) > count(found?.user ?? user)) found = upload
    }
    return found
  }

  /** Throws OspError `too-many-uploads` where the caller can't have another instance. */
  check(caller: Caller): void {
    this.#checkLink(caller)
    const { user } = caller
    const count = this.held().get(user) ?? 0
    if (count < this.#limits.uploadsPerUser) return
    throw this.#full('too-many-uploads', `${user} sends ${count} files already, as many as the server allows one user`)
  }

  /**
   * Keeps a place among the caller's uploads, for one that the user holds already, until it is disposed. Throws OspError
   * `too-many-uploads`.
   */
  reserve(caller: Caller): Disposable {
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

  #checkLink({ node }: Caller): void {
    let count = this.heldBy(node)
    for (const reserved of this.#reserved) if (reserved.node === node) count++
    if (count < this.#limits.uploadsPerLink) return
    throw this.#full('too-many-uploads', `this link sends ${count} files already, as many as the server allows`)
  }
}
