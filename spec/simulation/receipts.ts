import type { ClientState, Receipt, ReceiptStore } from '../../lib/ports/clientState.ts'
import type { SimulatedProcess } from './process.ts'

/** Maximum time for storing a receipt. */
const mostMs = 4

/** The durable receipts of one program, which outlive its processes. */
export class SimulatedReceipts {
  readonly #kept: Receipt[] = []
  /** Calls `kept` for each receipt when it is durable. */
  readonly #told: (receipt: Receipt) => void

  constructor(kept: (receipt: Receipt) => void) {
    this.#told = kept
  }

  /** The receipts as a process sees them. */
  stateOf(process: SimulatedProcess): ClientState {
    const receipts: ReceiptStore = {
      load: () => process.effect(mostMs, 'time to load receipts', () => [...this.#kept]),
      put: (receipt, most) => process.effect(mostMs, 'time to keep a receipt', () => this.#keep(receipt, most)),
    }
    return { receipts }
  }

  /** Keeps exactly the latest `most`, the smallest number that a store may keep. */
  #keep(receipt: Receipt, most: number): void {
    this.#kept.push(receipt)
    this.#kept.splice(0, this.#kept.length - most)
    this.#told(receipt)
  }
}
