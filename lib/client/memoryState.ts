import type { ClientState, Receipt } from '../ports/clientState.ts'

/** A client state that lasts as long as the program. */
export function memoryState(): ClientState {
  const receipts: Receipt[] = []
  return {
    receipts: {
      load: async () => [...receipts],
      async put(receipt, most) {
        receipts.push(receipt)
        receipts.splice(0, receipts.length - most)
      },
    },
  }
}
