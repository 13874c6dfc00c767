import type { SentId } from './records.ts'

/** The maximum number of ids in a generation. A Map of this size grows within a few milliseconds. */
const generationIds = 65_536

/** Ids in the order of their use, and the time of each. The first `forgotten` times belong to removed ids. */
interface Generation {
  readonly fingerprints: Map<string, number>
  readonly times: number[]
  forgotten: number
}

/** The id of a message that is not durable yet. */
export interface PendingId {
  readonly fingerprint: number
  /** The append of the message. `done` settles when the append has ended. */
  readonly append: { readonly done: Promise<void> }
}

/** The ids that one sender has used. */
export class SenderIds {
  /** The number of remembered ids of durable messages. */
  count = 0
  /** The ids of appends that are not durable yet. */
  readonly pending = new Map<string, PendingId>()
  #generations: Generation[] = []
  #inOrder = true
  #latest = 0

  /** Returns the fingerprint of the durable message with this id. */
  find(key: string): number | undefined {
    // The latest generation first, since repeated messages are recent.
    for (let at = this.#generations.length - 1; at >= 0; at--) {
      const fingerprint = this.#generations[at]?.fingerprints.get(key)
      if (fingerprint !== undefined) return fingerprint
    }
    return undefined
  }

  /** Adds an id, which must be new. */
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

  /** Yields all remembered ids, in the order in which they were added. */
  *[Symbol.iterator](): Generator<SentId> {
    for (const { fingerprints, times, forgotten } of this.#generations) {
      let at = forgotten
      for (const [key, fingerprint] of fingerprints) yield { key, fingerprint, storedAt: times[at++] ?? 0 }
    }
  }

  /** Sorts the ids by time. In a journal with moved records they are not sorted. */
  order(): void {
    if (this.#inOrder) return
    const ids = [...this].sort((a, b) => a.storedAt - b.storedAt)
    this.#generations = []
    this.#inOrder = true
    this.#latest = 0
    this.count = 0
    for (const { key, fingerprint, storedAt } of ids) this.add(key, fingerprint, storedAt)
  }

  /** Removes the ids that were stored before `time`. */
  forgetBefore(time: number): void {
    this.order()
    for (const generation of this.#generations) {
      const { fingerprints, times } = generation
      for (const key of fingerprints.keys()) {
        if ((times[generation.forgotten] ?? time) >= time) break
        fingerprints.delete(key)
        generation.forgotten++
        this.count--
      }
      if (fingerprints.size > 0) break
    }
    this.#generations = this.#generations.filter(({ fingerprints }) => fingerprints.size > 0)
  }
}

/** The ids of sent messages by sender, as texts with one character for each byte. */
export class SentIds {
  readonly #senders = new Map<string, SenderIds>()

  /** The number of ids of durable messages. */
  durable = 0
  #pending = 0

  /** The number of ids, including those of messages that are not durable yet. */
  get count(): number {
    return this.durable + this.#pending
  }

  /** Returns the ids of each sender. */
  senders(): Iterable<readonly [sender: string, ids: SenderIds]> {
    return this.#senders
  }

  of(sender: string): SenderIds | undefined {
    return this.#senders.get(sender)
  }

  /** Returns the number of ids of a sender, including those of messages that are not durable yet. */
  countOf(sender: string): number {
    const ids = this.of(sender)
    return ids ? ids.count + ids.pending.size : 0
  }

  /** Returns whether the id of a durable message is remembered. */
  has(sender: string, key: string): boolean {
    return this.of(sender)?.find(key) !== undefined
  }

  /** Adds the id of a durable message, unless it is remembered. */
  remember(sender: string, key: string, fingerprint: number, storedAt: number): void {
    const ids = this.#make(sender)
    if (ids.find(key) !== undefined) return
    ids.add(key, fingerprint, storedAt)
    this.durable++
  }

  /** Adds the id of a message whose append begins. */
  expect(sender: string, key: string, id: PendingId): void {
    this.#make(sender).pending.set(key, id)
    this.#pending++
  }

  /** Marks an expected id as durable. */
  confirm(sender: string, key: string, fingerprint: number, storedAt: number): void {
    const ids = this.#make(sender)
    ids.pending.delete(key)
    this.#pending--
    ids.add(key, fingerprint, storedAt)
    this.durable++
  }

  /** Removes an expected id, since its message was not stored. */
  giveUp(sender: string, key: string): void {
    this.of(sender)?.pending.delete(key)
    this.#pending--
    this.#clear(sender)
  }

  /** Removes the ids that were stored before `time`. */
  forgetBefore(time: number): void {
    for (const [sender, ids] of this.#senders) {
      const before = ids.count
      ids.forgetBefore(time)
      this.durable -= before - ids.count
      this.#clear(sender)
    }
  }

  /** Sorts all ids; must be called after a journal was read. */
  order(): void {
    for (const ids of this.#senders.values()) ids.order()
  }

  #make(sender: string): SenderIds {
    const ids = this.#senders.get(sender) ?? new SenderIds()
    this.#senders.set(sender, ids)
    return ids
  }

  #clear(sender: string): void {
    const ids = this.#senders.get(sender)
    if (ids?.count === 0 && ids.pending.size === 0) this.#senders.delete(sender)
  }
}
