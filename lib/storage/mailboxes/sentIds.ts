import { SenderIds } from './senderIds.ts'

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
