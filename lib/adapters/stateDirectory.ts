import { resolve } from 'node:path'
import type { ClientState } from '../ports/clientState.ts'
import { ReceiptFile } from './stateDirectory/receiptFile.ts'

/**
 * A client's state in a directory, for one user at one server; it is made when something is first kept. One process at a
 * time uses it.
 */
export function stateDirectory(path: string): ClientState {
  return { receipts: new ReceiptFile(resolve(path)) }
}
