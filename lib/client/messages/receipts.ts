import type { OspError } from '../../errors.ts'
import type { ReceiptStore } from '../../ports/clientState.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { ClientGaugeSink } from '../gauges.ts'
import { type Delivery, keyOf } from './delivery.ts'

/**
 * Receipts that are kept, in windows of deliveries. A message can stay in its mailbox while others come and go, a window of
 * them on each link, so one window is not enough: what comes again counts as new once half of these came after it.
 */
const windows = 8

/** What a client remembers of the latest messages: that they were handed over, durably, and that they were given up. */
export class Receipts {
  readonly #store: ReceiptStore
  readonly #puts = new Mutex()
  /** By key, the number of the receipt; the latest last. */
  readonly #kept = new Map<string, number>()
  #count = 0
  readonly #givenUp = new Map<string, OspError>()
  #loading: Promise<void> | undefined

  constructor(store: ReceiptStore) {
    this.#store = store
  }

  held(tell: ClientGaugeSink): void {
    tell('receipts', this.#kept.size)
    tell('messages that were given up', this.#givenUp.size)
  }

  /** Resolves when what an earlier program has kept is known. */
  load(): Promise<void> {
    this.#loading ??= this.#load()
    return this.#loading
  }

  /** Whether this very message was handed over. */
  has({ key }: Delivery): boolean {
    return this.#kept.has(key)
  }

  /** Why this very message was given up, if it was. */
  whyGivenUp({ key }: Delivery): OspError | undefined {
    return this.#givenUp.get(key)
  }

  /** Durable when it resolves, and behind all that were asked for before. `window` deliveries may be unanswered. */
  keep({ key, receipt }: Delivery, window: number): Promise<void> {
    return this.#puts.run(async () => {
      await this.#store.put(receipt, windows * window)
      this.#remember(key)
      for (const [other, number] of this.#kept) {
        if (number > this.#count - windows * window) break
        this.#kept.delete(other)
      }
    })
  }

  /** What was kept has come again: it is kept anew before so many others are that it would be forgotten. */
  async again(delivery: Delivery, window: number): Promise<void> {
    const age = this.#count - (this.#kept.get(delivery.key) ?? 0)
    if (age >= (windows / 2) * window) await this.keep(delivery, window)
  }

  /** Remembers it for as long as this program runs. */
  giveUp({ key }: Delivery, why: OspError, window: number): void {
    this.#givenUp.set(key, why)
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
      for (const receipt of await this.#store.load()) this.#remember(keyOf(receipt))
    } catch (error) {
      this.#loading = undefined
      throw error
    }
  }
}
