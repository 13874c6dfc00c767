import type { OspError } from '../../errors.ts'
import type { ReceiptStore } from '../../ports/clientState.ts'
import { Mutex } from '../../runtime/mutex.ts'
import { type Incoming, receiptKey } from './incoming.ts'

/**
 * The number of stored receipts, in windows of deliveries. A message can stay in its mailbox while others arrive and are
 * acknowledged, a window of them on each link, so one window is not enough. The receipt of a message that arrives again is
 * stored anew after half of these windows.
 */
const windows = 8

/** Records of the latest messages: durably, those that were handed over; in memory, those that were given up. */
export class Receipts {
  readonly #store: ReceiptStore
  readonly #puts = new Mutex()
  /** The number of each receipt, by key; the latest last. */
  readonly #kept = new Map<string, number>()
  #count = 0
  readonly #givenUp = new Map<string, OspError>()
  #loading: Promise<void> | undefined

  constructor(store: ReceiptStore) {
    this.#store = store
  }

  get gauges() {
    return { receipts: this.#kept.size, givenUpMessages: this.#givenUp.size }
  }

  /** Loads the receipts of earlier programs, once. */
  load(): Promise<void> {
    this.#loading ??= this.#load()
    return this.#loading
  }

  /** Whether this message was handed over. */
  has({ key }: Incoming): boolean {
    return this.#kept.has(key)
  }

  /** Returns the error for which this message was given up, if it was. */
  errorOf({ key }: Incoming): OspError | undefined {
    return this.#givenUp.get(key)
  }

  /** Stores the receipt after all earlier ones; durable when it resolves. `window` deliveries may be unanswered. */
  keep({ key, receipt }: Incoming, window: number): Promise<void> {
    return this.#puts.run(async () => {
      await this.#store.put(receipt, windows * window)
      this.#remember(key)
      for (const [other, number] of this.#kept) {
        if (number > this.#count - windows * window) break
        this.#kept.delete(other)
      }
    })
  }

  /** Stores the receipt of a message that has arrived again anew, before later receipts displace it. */
  async again(delivery: Incoming, window: number): Promise<void> {
    const age = this.#count - (this.#kept.get(delivery.key) ?? 0)
    if (age >= (windows / 2) * window) await this.keep(delivery, window)
  }

  /** Records that the message was given up, in memory. */
  giveUp({ key }: Incoming, error: OspError, window: number): void {
    this.#givenUp.set(key, error)
    for (const other of this.#givenUp.keys()) {
      if (this.#givenUp.size <= window) return
      this.#givenUp.delete(other)
    }
  }

  #remember(key: string): void {
    this.#kept.delete(key)
    this.#kept.set(key, ++this.#count)
  }

  async #load(): Promise<void> {
    try {
      for (const receipt of await this.#store.load()) this.#remember(receiptKey(receipt))
    } catch (error) {
      this.#loading = undefined
      throw error
    }
  }
}
