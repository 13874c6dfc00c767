import type { Delivery } from './delivery.ts'

/** While memory is full, so many read at once the one message that each may have all the same. */
const readAtOnce = 8

/**
 * Bytes of deliveries that no socket has taken yet: bounded for all together, so that a crowd of recipients is served one
 * after another. Where it is full, a recipient of whom it holds nothing may have one message all the same: those whose
 * sockets take nothing hold up nobody else, and take one message each beyond the bound.
 */
export class DeliveryBudget {
  readonly #mostBytes: number
  readonly #ready: (delivery: Delivery) => void
  #bytes = 0
  /** Those that wait until it is not full. */
  readonly #starved = new Set<Delivery>()
  /** Those that are reading the one message … */
  readonly #reading = new Set<Delivery>()
  /** … and those that wait for their turn to do so. */
  readonly #hungry = new Set<Delivery>()

  /** `ready` is told who may have more. */
  constructor(mostBytes: number, ready: (delivery: Delivery) => void) {
    this.#mostBytes = mostBytes
    this.#ready = ready
  }

  /** The delivery's `heldBytes` have changed by so many. */
  hold(delivery: Delivery, bytes: number): void {
    this.#bytes += bytes
    if (bytes >= 0 || this.#starved.size === 0) return
    if (this.#full) {
      if (delivery.heldBytes === 0 && this.#starved.has(delivery)) this.#ready(delivery)
      return
    }
    const starved = [...this.#starved]
    this.#starved.clear()
    this.#hungry.clear()
    for (const each of starved) this.#ready(each)
  }

  mayRead(delivery: Delivery): 'window' | 'one' | 'none' {
    if (!this.#full) return 'window'
    this.#starved.add(delivery)
    if (delivery.heldBytes > 0) return 'none'
    if (this.#reading.size >= readAtOnce) {
      this.#hungry.add(delivery)
      return 'none'
    }
    this.#reading.add(delivery)
    return 'one'
  }

  /** The delivery has read what it was allowed to. */
  read(delivery: Delivery): void {
    if (!this.#reading.delete(delivery)) return
    const [next] = this.#hungry
    if (!next) return
    this.#hungry.delete(next)
    this.#ready(next)
  }

  /** The delivery has ended. */
  forget(delivery: Delivery): void {
    this.#starved.delete(delivery)
    this.#hungry.delete(delivery)
    this.read(delivery)
  }

  get #full(): boolean {
    return this.#bytes >= this.#mostBytes
  }
}
