import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { Connection } from '../app.ts'

interface Link {
  running: number
  readonly waiting: Deferred<void>[]
}

/**
 * Carries out a few requests of each link at once, in the order in which they came. The others wait, and are dropped when
 * the link ends.
 */
export class LinkTurns {
  /** By node; the links that have requests. */
  readonly #links = new Map<number, Link>()

  /** Resolves or rejects as `job` does. Rejects with OspError `link-lost` if the link ends before `job` is begun. */
  run<T>({ node }: Connection, job: () => Promise<T>): Promise<T> {
    const link = this.#links.get(node) ?? { running: 0, waiting: [] }
    this.#links.set(node, link)
    if (link.running < fixed.requestsAtOnce) {
      link.running++
      return this.#begin(node, link, job)
    }
    const turn = deferred<void>()
    link.waiting.push(turn)
    return turn.promise.then(() => this.#begin(node, link, job))
  }

  /** The link has ended: what waits is dropped. */
  lost({ node }: Connection): void {
    for (const turn of this.#links.get(node)?.waiting.splice(0) ?? []) turn.reject(new OspError('link-lost'))
  }
  #begin<T>(node: number, link: Link, job: () => Promise<T>): Promise<T> {
    const done = job()
    const ended = () => {
      const next = link.waiting.shift()
      // The next one takes this place.
      if (next) next.resolve()
      else if (--link.running === 0) this.#links.delete(node)
    }
    // The answer is not held up by this.
    done.then(ended, ended)
    return done
  }
}
