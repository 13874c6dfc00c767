import type { OspError } from '../errors.ts'
import type { ReceiptStore } from '../ports/clientState.ts'
import { type Delivery, keyOf } from './delivery.ts'

/** What a client remembers of the latest messages: that they were handed over, durably, and that they were given up. */
export class Receipts {
  readonly #store: ReceiptStore
  /** The latest last. */
  readonly #kept = new Set<string>()
  readonly #givenUp = new Map<string, OspError>()
  #loading: Promise<void> | undefined

  constructor(store: ReceiptStore) {
    this.#store = store
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

  /** Durable when it resolves; the latest `most` stay. What was kept before becomes the latest. */
  async keep({ key, receipt }: Delivery, most: number): Promise<void> {
    await this.#store.put(receipt, most)
    this.#kept.delete(key)
    this.#kept.add(key)
    trim(this.#kept, most)
  }

  /** Remembers it for as long as this program runs. */
  giveUp({ key }: Delivery, why: OspError, most: number): void {
    this.#givenUp.set(key, why)
    trim(this.#givenUp, most)
  }

  async #load(): Promise<void> {
    try {
      for (const receipt of await this.#store.load()) this.#kept.add(keyOf(receipt))
    } catch (error) {
      this.#loading = undefined
      throw error
    }
  }
}

function trim(kept: Set<string> | Map<string, unknown>, most: number): void {
  for (const key of kept.keys()) {
    if (kept.size <= most) return
    kept.delete(key)
  }
}
