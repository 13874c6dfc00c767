import type { SentId } from './records.ts'

/** Ids of one generation: so many can be moved to a larger table in a few milliseconds. */
const generationIds = 65_536

/** An append that is not durable yet. */
export interface Pending {
  readonly fingerprint: number
  readonly done: Promise<void>
}

/** Ids in the order in which they were used; `times` has one for each, the first `forgotten` of which are gone. */
interface Generation {
  readonly fingerprints: Map<string, number>
  readonly times: number[]
  forgotten: number
}

/** The ids that one sender has used. */
export class SenderIds {
  /** Durable ones that are remembered. */
  count = 0
  readonly pending = new Map<string, Pending>()
  #generations: Generation[] = []
  #inOrder = true
  #latest = 0

  /** The fingerprint of a durable message of this id. */
  find(key: string): number | undefined {
    // The latest first: what is repeated was sent lately.
    for (let at = this.#generations.length - 1; at >= 0; at--) {
      const fingerprint = this.#generations[at]?.fingerprints.get(key)
      if (fingerprint !== undefined) return fingerprint
    }
    return undefined
  }

  /** Adds an id that is not there. */
  add(key: string, fingerprint: number, storedAt: number): void {
    let last = this.#generations.at(-1)
    if (!last || last.times.length >= generationIds) {
      last = { fingerprints: new Map(), times: [], forgotten: 0 }
      this.#generations.push(last)
    }
    if (storedAt < this.#latest) this.#inOrder = false
    this.#latest = storedAt
    last.fingerprints.set(key, fingerprint)
    last.times.push(storedAt)
    this.count++
  }

  /** All that are remembered, in the order in which they were added. */
  *[Symbol.iterator](): Generator<SentId> {
    for (const { fingerprints, times, forgotten } of this.#generations) {
      let at = forgotten
      for (const [key, fingerprint] of fingerprints) yield { key, fingerprint, storedAt: times[at++] ?? 0 }
    }
  }

  /** Puts the ids in the order of their times, which a journal whose records were moved has not. */
  order(): void {
    if (this.#inOrder) return
    const ids = [...this].sort((a, b) => a.storedAt - b.storedAt)
    this.#generations = []
    this.#inOrder = true
    this.#latest = 0
    this.count = 0
    for (const { key, fingerprint, storedAt } of ids) this.add(key, fingerprint, storedAt)
  }

  /** Forgets what was stored before `time`. */
  forgetBefore(time: number): void {
    this.order()
    for (const generation of this.#generations) {
      if ((generation.times[generation.forgotten] ?? time) >= time) break
      this.#forget(generation, time)
    }
    if (this.#generations[0]?.fingerprints.size === 0) {
      this.#generations = this.#generations.filter(({ fingerprints }) => fingerprints.size > 0)
    }
  }

  #forget(generation: Generation, time: number): void {
    const { fingerprints, times } = generation
    for (const key of fingerprints.keys()) {
      if ((times[generation.forgotten] ?? time) >= time) return
      fingerprints.delete(key)
      generation.forgotten++
      this.count--
    }
  }
}
