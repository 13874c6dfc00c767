import { Queue } from '../../core/queue.ts'
import type { Delivery } from './delivery.ts'

/** Number of deliveries that may read at once while the budget is used up. */
const readsWhenFull = 8

/**
 * Bounds the memory of all deliveries together: the content that was read, or is being read, and that no socket has taken. A
 * delivery that is refused memory is scheduled again when there is some.
 *
 * While the budget is used up, a delivery that holds no content may still read one message. So recipients whose sockets take
 * nothing do not block the others: each of them holds one message beyond the budget.
 */
export class DeliveryBudget {
  readonly #totalBytes: number
  readonly #scheduler: RoundRobin
  #usedBytes = 0
  /** Deliveries that were refused memory for the whole window. */
  readonly #waiting = new Set<Delivery>()
  /** Deliveries that read one message beyond the budget. */
  readonly #reading = new Set<Delivery>()
  /** Deliveries that wait until one of `#reading` has finished. */
  readonly #waitingToRead = new Set<Delivery>()

  constructor(totalBytes: number, scheduler: RoundRobin) {
    this.#totalBytes = totalBytes
    this.#scheduler = scheduler
  }

  /** Counts bytes that a delivery now holds, or, if negative, holds no longer. Its `bufferedBytes` includes them already. */
  add(delivery: Delivery, bytes: number): void {
    this.#usedBytes += bytes
    if (bytes >= 0 || this.#waiting.size === 0) return
    if (this.#isFull) {
      if (delivery.bufferedBytes === 0 && this.#waiting.has(delivery)) this.#scheduler.schedule(delivery)
      return
    }
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    this.#waitingToRead.clear()
    for (const each of waiting) this.#scheduler.schedule(each)
  }

  /**
   * Returns what a delivery may read into memory now: what fits its window, one message, or nothing. Unless it is the window,
   * the delivery is scheduled when it may read more. After reading one message it calls `finishRead`.
   */
  allowance(delivery: Delivery): 'window' | 'one' | 'none' {
    if (!this.#isFull) return 'window'
    this.#waiting.add(delivery)
    if (delivery.bufferedBytes > 0) return 'none'
    if (this.#reading.size >= readsWhenFull) {
      this.#waitingToRead.add(delivery)
      return 'none'
    }
    this.#reading.add(delivery)
    return 'one'
  }

  /** Lets the next delivery read, if this one has read beyond the budget. */
  finishRead(delivery: Delivery): void {
    if (!this.#reading.delete(delivery)) return
    const [next] = this.#waitingToRead
    if (!next) return
    this.#waitingToRead.delete(next)
    this.#scheduler.schedule(next)
  }

  forget(delivery: Delivery): void {
    this.#waiting.delete(delivery)
    this.#waitingToRead.delete(delivery)
    this.finishRead(delivery)
  }

  get #isFull(): boolean {
    return this.#usedBytes >= this.#totalBytes
  }
}

/** Runs the steps of scheduled deliveries in turn: after a step, a delivery goes to the tail (the seed's 一对多消息发送). */
export class RoundRobin {
  readonly #queue = new Queue<Delivery>()
  readonly #queued = new Set<Delivery>()
  #running = false

  /** Appends a delivery to the queue unless it is there already, and runs the queue unless it runs already. */
  schedule(delivery: Delivery): void {
    if (this.#queued.has(delivery)) return
    this.#queued.add(delivery)
    this.#queue.push(delivery)
    if (this.#running) return
    this.#running = true
    try {
      for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
        this.#queued.delete(next)
        if (next.step()) this.schedule(next)
      }
    } finally {
      this.#running = false
    }
  }
}
