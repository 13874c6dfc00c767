/** That a message was handed over, kept so that it is not handed over again. */
export interface Receipt {
  /** The message's place in the mailbox. */
  readonly seq: number
  readonly sender: string
  /** Its id, 32 hexadecimal digits. */
  readonly id: string
}

/** The latest receipts of one user at one server. */
export interface ReceiptStore {
  /** What was kept, the latest last. */
  load(): Promise<readonly Receipt[]>
  /** Adds one: durable. At least the latest `most` are kept. Calls are made one after another. */
  put(receipt: Receipt, most: number): Promise<void>
}

/** What a client keeps over restarts of its program. One process at a time uses it. */
export interface ClientState {
  readonly receipts: ReceiptStore
}
