import type { ClientState, Receipt, ReceiptStore } from '../../lib/ports/clientState.ts'
import type { SimulatedProcess } from './process.ts'

/** The longest that a receipt takes to be kept. */
const mostMs = 4

/** The receipts of one program, durable: they outlive its processes. */
export class SimulatedReceipts {
  readonly #kept: Receipt[] = []
  /** Calls `kept` for each one when it is durable. */
  readonly #told: (receipt: Receipt) => void

  constructor(kept: (receipt: Receipt) => void) {
    this.#told = kept
  }

  /** What a process sees of them. */
  stateOf(process: SimulatedProcess): ClientState {
    const receipts: ReceiptStore = {
      load: () => process.effect(mostMs, 'time to load receipts', () => [...this.#kept]),
      put: (receipt, most) => process.effect(mostMs, 'time to keep a receipt', () => this.#keep(receipt, most)),
    }
    return { receipts }
  }

  /** Exactly the latest `most` are left, as few as a store may leave. */
  #keep(receipt: Receipt, most: number): void {
    this.#kept.push(receipt)
    this.#kept.splice(0, this.#kept.length - most)
    this.#told(receipt)
  }
}
