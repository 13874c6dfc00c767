import { BoundedMap } from '../../core/boundedMap.ts'
import type { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { Receipt, ReceiptStore } from '../../ports/clientState.ts'
import { Mutex } from '../../runtime/mutex.ts'
import { retriable } from '../../runtime/retriable.ts'
import type { Incoming } from './inbox.ts'

/**
 * The number of stored receipts, in windows of deliveries. One is not enough: while a message stays in its mailbox, each link
 * can acknowledge a window of others. The receipt of a message that arrives again is stored anew after half of these windows.
 */
const windows = 8

/** Returns a string that is equal for equal receipts only. */
export const receiptKey = ({ seq, sender, id }: Receipt) => `${seq} ${id} ${sender}`

/** Records of the latest messages: durably, those that were handed over; in memory, those that were rejected. */
export class Receipts {
  readonly #store: ReceiptStore
  readonly #puts = new Mutex()
  #window: number = fixed.replies
  /** The number of each receipt, by key; the latest last. */
  readonly #kept = new BoundedMap<string, number>(windows * fixed.replies)
  #count = 0
  /** The results of handled messages whose senders get receipts. */
  readonly #results = new BoundedMap<string, string>(windows * fixed.replies)
  readonly rejected = new BoundedMap<string, OspError>(fixed.replies)
  /** Loads the receipts of earlier programs, once. */
  readonly load = retriable(async () => {
    for (const receipt of await this.#store.load()) this.#set(receiptKey(receipt), receipt.result)
  })

  constructor(store: ReceiptStore) {
    this.#store = store
  }

  get gauges() {
    return { receipts: this.#kept.size, rejectedMessages: this.rejected.size }
  }

  /** Sets the number of deliveries that may be unanswered, which sets the number of receipts. */
  set window(deliveries: number) {
    this.#window = deliveries
    this.#kept.maxSize = windows * deliveries
    this.#results.maxSize = windows * deliveries
    this.rejected.maxSize = deliveries
  }

  has({ key }: Incoming): boolean {
    return this.#kept.has(key)
  }

  /** Returns the result of a handled message for its sender. */
  resultOf({ key }: Incoming): string | undefined {
    return this.#results.get(key)
  }

  /** Stores the receipt after all earlier ones; durable when it returns or resolves. */
  keep(incoming: Incoming): Promise<void> | undefined {
    if (this.#puts.waiting > 0) return this.#putLater(incoming, () => this.#put(incoming))
    let storing: Promise<void> | undefined
    try {
      storing = this.#put(incoming)
    } catch (error) {
      storing = Promise.reject(error)
    }
    if (storing) return this.#putLater(incoming, () => storing)
    this.#stored(incoming)
    return undefined
  }

  #put({ receipt, result }: Incoming): Promise<void> | undefined {
    return this.#store.put(result === undefined ? receipt : { ...receipt, result }, windows * this.#window)
  }

  async #putLater(incoming: Incoming, put: () => Promise<void> | undefined): Promise<void> {
    await this.#puts.run(put)
    this.#stored(incoming)
  }

  #stored({ key, result }: Incoming): void {
    this.#set(key, result)
  }

  #set(key: string, result: string | undefined): void {
    this.#kept.set(key, ++this.#count)
    if (result !== undefined) this.#results.set(key, result)
  }

  /** Stores the receipt of a message that has arrived again anew, before later receipts displace it. */
  async again(incoming: Incoming): Promise<void> {
    incoming.result = this.resultOf(incoming)
    const age = this.#count - (this.#kept.get(incoming.key) ?? 0)
    if (age >= (windows / 2) * this.#window) await this.keep(incoming)
  }
}
