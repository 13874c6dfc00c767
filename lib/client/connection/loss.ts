import type { OspError } from '../../errors.ts'
import { deferred } from '../../runtime/deferred.ts'

/** The end of one link, and who wants to hear of it. It keeps nothing of those who don't any more. */
export class Loss {
  readonly #deferred = deferred<OspError>()
  readonly #listeners = new Set<(why: OspError) => void>()
  #happened: OspError | undefined

  /** Why the link has ended, once it has. */
  get happened(): OspError | undefined {
    return this.#happened
  }

  /** Resolves with why the link has ended. */
  get why(): Promise<OspError> {
    return this.#deferred.promise
  }

  /** Calls `listener` with why the link has ended, once; at once if it has; never after it was disposed. */
  hear(listener: (why: OspError) => void): Disposable {
    if (this.#happened) listener(this.#happened)
    else this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** The link has ended. */
  happen(why: OspError): void {
    this.#happened = why
    for (const listener of this.#listeners) listener(why)
    this.#listeners.clear()
    this.#deferred.resolve(why)
  }
}
