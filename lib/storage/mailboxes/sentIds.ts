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

/** The ids of what was sent: by sender, as texts with one character for each byte. */
export class SentIds {
  readonly #senders = new Map<string, SenderIds>()

  /** Of durable messages. */
  durable = 0
  #pending = 0

  /** With those whose message is not durable yet. */
  get count(): number {
    return this.durable + this.#pending
  }

  /** The ids of a sender, if there are any. */
  of(sender: string): SenderIds | undefined {
    return this.#senders.get(sender)
  }

  /** How many of a sender are remembered, with those whose message is not durable yet. */
  countOf(sender: string): number {
    const ids = this.of(sender)
    return ids ? ids.count + ids.pending.size : 0
  }

  /** Whether a durable message of this id is remembered. */
  has(sender: string, key: string): boolean {
    return this.of(sender)?.find(key) !== undefined
  }

  /** Remembers the id of a durable message that was not expected, if it is not remembered. */
  remember(sender: string, key: string, fingerprint: number, storedAt: number): void {
    const ids = this.#make(sender)
    if (ids.find(key) !== undefined) return
    ids.add(key, fingerprint, storedAt)
    this.durable++
  }

  /** Remembers the id of a message that is about to be appended. */
  expect(sender: string, key: string, fingerprint: number, done: Promise<void>): void {
    this.#make(sender).pending.set(key, { fingerprint, done })
    this.#pending++
  }

  /** The message of an expected id is durable. */
  confirm(sender: string, key: string, fingerprint: number, storedAt: number): void {
    const ids = this.#make(sender)
    ids.pending.delete(key)
    this.#pending--
    ids.add(key, fingerprint, storedAt)
    this.durable++
  }

  /** The message of an expected id is not stored. */
  giveUp(sender: string, key: string): void {
    this.of(sender)?.pending.delete(key)
    this.#pending--
    this.#clear(sender)
  }

  /** Forgets what was stored before `time`. */
  forgetBefore(time: number): void {
    for (const [sender, ids] of this.#senders) {
      const before = ids.count
      ids.forgetBefore(time)
      this.durable -= before - ids.count
      this.#clear(sender)
    }
  }

  /** To be called when a journal was read. */
  order(): void {
    for (const ids of this.#senders.values()) ids.order()
  }

  #make(sender: string): SenderIds {
    let ids = this.#senders.get(sender)
    if (!ids) {
      ids = new SenderIds()
      this.#senders.set(sender, ids)
    }
    return ids
  }

  #clear(sender: string): void {
    const ids = this.#senders.get(sender)
    if (ids?.count === 0 && ids.pending.size === 0) this.#senders.delete(sender)
  }
}
