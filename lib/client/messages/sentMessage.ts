import { OspError } from '../../errors.ts'
import { checkOptions } from '../../options.ts'
import { hex } from '../../runtime/hex.ts'
import { signalOptions } from '../options.ts'
import type { RecipientState, SignalOptions } from './message.ts'
import type { MessageReceipt } from './messageReceipts.ts'

/** A message that is being sent. It is a promise, which settles as `stored`. */
export interface SentMessage extends Promise<readonly RecipientState[]> {
  /** Its id, 32 hexadecimal digits. */
  readonly id: string
  /**
   * Resolves when the message survives the end of the program: when it is flushed to the outbox of the client's state or, without
   * an outbox, when the server has stored it. A program that uses this promise need not handle a rejection of the others.
   */
  readonly queued: Promise<void>
  /** Resolves when the server has stored the message durably for all recipients, with one state for each in the order of `to`. */
  readonly stored: Promise<readonly RecipientState[]>
  /**
   * Iterates over the receipts of a message that was sent with the option `receipt`. Ends after the receipts of all recipients. When
   * the caller requests the next receipt, the former one is removed from the server; until then, the next iterator begins with the
   * former receipt, as does `client.receipts()` of a later program. Rejects with the error of the message, when the client ends, or
   * with `closed` when `signal` aborts. Throws OspError `usage` if the message was sent without `receipt`.
   */
  receipts(options?: SignalOptions): AsyncIterableIterator<MessageReceipt>
}

/** Returns an iterator over the receipts of a message. */
export type ReceiptIterators = (options?: SignalOptions) => AsyncIterableIterator<MessageReceipt>

type Executor = ConstructorParameters<typeof Promise<readonly RecipientState[]>>[0]

/** The promise of a message, without further promises unless they are asked for. */
export class PendingMessage extends Promise<readonly RecipientState[]> implements SentMessage {
  /** Promises that derive from this one are plain. */
  static override get [Symbol.species]() {
    return Promise
  }

  readonly #messageId: Uint8Array
  readonly #queued: Promise<void> | undefined
  /** Set if the message asks for receipts. */
  iterators: ReceiptIterators | undefined

  /** `queued`: settles as the property; by default as this promise. */
  constructor(messageId: Uint8Array, executor: Executor, queued?: Promise<void>) {
    super(executor)
    this.#messageId = messageId
    this.#queued = queued
  }

  receipts(options: SignalOptions = {}): AsyncIterableIterator<MessageReceipt> {
    checkOptions('receipts', signalOptions, options)
    if (this.iterators) return this.iterators(options)
    throw new OspError('usage', 'a message has receipts only if it is sent with the option receipt: true')
  }

  get id(): string {
    return hex(this.#messageId)
  }

  get queued(): Promise<void> {
    this.catch(() => {})
    return this.#queued ?? this.then(() => {})
  }

  get stored(): Promise<readonly RecipientState[]> {
    return this
  }
}
