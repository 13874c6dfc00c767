import { BoundedMap } from '../../core/boundedMap.ts'
import { Multiset } from '../../core/multiset.ts'
import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { hex } from '../../runtime/hex.ts'
import { uploadPartOf } from '../../runtime/messageId.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { onAbort, wait } from '../../runtime/wait.ts'
import { receiptStates } from '../../wire/protocol.ts'
import { protocolViolation } from '../connection/session.ts'
import type { SignalOptions } from './message.ts'
import type { Decoded } from './receivedMessage.ts'

/** The outcome of a message for one of its recipients. */
export interface MessageReceipt {
  /** The id of the message, 32 hexadecimal digits. */
  readonly messageId: string
  readonly recipient: string
  /** A message that the recipient removed without handling it is `rejected`. `expired`: the message was not handled in time. */
  readonly state: keyof typeof receiptStates
  /** When the server stored the receipt, by its clock. */
  readonly at: Date
  /** The result that the recipient returned, or the reason for the rejection; up to 4 KiB. */
  readonly result: string
}

/** The interval at which awaited receipts are listed without a notification, because a server can lose a notification. */
const pollMs = 30_000

/** The maximum number of remembered receipts that a queue has taken. By default, a server keeps fewer receipts. */
const mostTaken = 20_000

/** A receipt in the mailbox of receipts. */
interface Found {
  readonly seq: number
  readonly receipt: MessageReceipt
}

/** The receipts that an application awaits. */
class ReceiptQueue {
  readonly waiting: Found[] = []
  /** The recipients of the message whose receipts the application has. */
  readonly had = new Set<string>()
  #changed: Deferred<void> = deferred()
  #error: OspError | undefined

  add(found: Found): void {
    this.waiting.push(found)
    this.#changed.resolve()
  }

  fail(error: OspError): void {
    this.#error ??= error
    this.#changed.resolve()
  }

  /** Resolves with the next receipt. Rejects if no receipt can follow, or when `signal` aborts. */
  async next(signal: AbortSignal | undefined): Promise<Found> {
    using _ = signal && onAbort(signal, () => this.#changed.resolve())
    for (;;) {
      if (signal?.aborted) throw new OspError('closed', 'the wait for receipts was aborted')
      const found = this.waiting.shift()
      if (found) return found
      if (this.#error) throw this.#error
      this.#changed = deferred()
      await this.#changed.promise
    }
  }
}

/** The mailbox of the receipts of a user. */
export interface ReceiptMailbox {
  /** Resolves with the next receipts after a seq, in order. Resolves with an empty array after the last receipt. */
  page(afterSeq: number, signal: AbortSignal): Promise<readonly Decoded[]>
  /** Removes receipts. */
  remove(seqs: readonly number[], signal: AbortSignal): Promise<void>
}

interface ReceiptsOptions {
  readonly platform: Pick<Platform, 'clock'>
  readonly mailbox: ReceiptMailbox
  /** Starts the link for messages. Throws the final error of a client that has ended. */
  readonly begin: () => void
}

/**
 * Hands out the receipts of a user. Iterators of sent messages get the receipts of these messages; `client.receipts()` gets all
 * others. A receipt is removed from the server when the application asks for the next one.
 */
export class MessageReceipts {
  readonly #options: ReceiptsOptions
  /** By id, the queues of the messages for which the client awaits receipts; several if a message was sent again. */
  readonly #queues = new Map<string, Set<ReceiptQueue>>()
  /** The queue of all other receipts, while the application iterates over them. */
  #others: ReceiptQueue | undefined
  /** The parts that the ids of an upload's messages share, for the uploads whose receipts wait until the upload is done. */
  readonly #held = new Multiset()
  readonly #stopping = new AbortController()
  readonly #removals = new PendingWork()
  readonly #removed: number[] = []
  #isRemoving = false
  /** The highest seq that was listed. */
  #lastSeq = 0
  /** The seqs of the receipts that a queue has taken. The server can list a receipt again before it is removed. */
  readonly #taken = new BoundedMap<number, true>(mostTaken)
  #hasNew = false
  #isListing = false
  #wake: Deferred<void> = deferred()

  constructor(options: ReceiptsOptions) {
    this.#options = options
  }

  /** Lists the receipts, because the server has new ones or may have got some while there was no link. */
  changed(): void {
    this.#hasNew = true
    this.#wake.resolve()
    this.#start()
  }

  /**
   * Awaits the receipts of a message. Returns its iterators; `all` resolves with all receipts, which stay on the server until they are
   * removed; `failed` ends the wait. `isNew` means that the message cannot have been sent before.
   */
  expect(messageId: string, isNew: boolean) {
    const queue = new ReceiptQueue()
    this.#queues.set(messageId, (this.#queues.get(messageId) ?? new Set()).add(queue))
    if (isNew) this.#start()
    else this.#listAll()
    return {
      receipts: (recipients: number, options: SignalOptions = {}) =>
        this.#iterate(messageId, queue, recipients, options),
      all: (recipients: number) => this.#all(messageId, queue, recipients),
      failed: (error: OspError) => {
        this.#forget(messageId, queue)
        queue.fail(error)
        // Another iterator gets them.
        for (const { seq } of queue.waiting) this.#taken.delete(seq)
        if (queue.waiting.length > 0) this.#listAll()
      },
    }
  }

  /**
   * Keeps the receipts of an upload from the iterator of all other receipts, until the returned function is called. `messageId` is
   * that of its `FileNotice`.
   */
  hold(messageId: string): () => void {
    const part = uploadPartOf(messageId)
    this.#held.add(part)
    return () => {
      this.#held.remove(part)
      if (this.#others) this.#listAll()
    }
  }

  /** Iterates over the receipts that no message of this client awaits. */
  async *others({ signal }: SignalOptions): AsyncGenerator<MessageReceipt, undefined> {
    if (this.#others)
      throw new OspError('usage', 'another iterator already takes the receipts of this client; end that iterator first')
    const queue = new ReceiptQueue()
    this.#options.begin()
    this.#others = queue
    this.#listAll()
    let given: Found | undefined
    try {
      for (;;) {
        given = await queue.next(signal)
        yield given.receipt
        this.#remove(given.seq)
        given = undefined
      }
    } finally {
      this.#others = undefined
      // The next iterator lists these receipts again.
      for (const { seq } of given ? [given, ...queue.waiting] : queue.waiting) this.#taken.delete(seq)
    }
  }

  /** Ends all iterators. */
  end(error: OspError): void {
    this.#stopping.abort()
    this.#fail(error)
  }

  /** Resolves when the requests to remove receipts are answered. */
  settled(): Promise<void> {
    return this.#removals.settled()
  }

  async *#iterate(
    messageId: string,
    queue: ReceiptQueue,
    recipients: number,
    { signal }: SignalOptions,
  ): AsyncGenerator<MessageReceipt, undefined> {
    this.#options.begin()
    const { had } = queue
    let given: Found | undefined
    try {
      while (had.size < recipients) {
        given = await queue.next(signal)
        const { seq, receipt } = given
        if (!had.has(receipt.recipient)) yield receipt
        had.add(receipt.recipient)
        this.#remove(seq)
        given = undefined
      }
    } finally {
      // The next iterator begins with this receipt.
      if (given) queue.waiting.unshift(given)
    }
    this.#forget(messageId, queue)
    await this.#removals.settled()
    return undefined
  }

  async #all(messageId: string, queue: ReceiptQueue, recipients: number) {
    this.#options.begin()
    const { had } = queue
    const found: Found[] = []
    while (had.size < recipients) {
      const next = await queue.next(undefined)
      found.push(next)
      had.add(next.receipt.recipient)
    }
    this.#forget(messageId, queue)
    const receipts = found.map(({ receipt }) => receipt)
    return {
      receipts: receipts.filter(
        ({ recipient }, at) => receipts.findIndex((each) => each.recipient === recipient) === at,
      ),
      remove: () => {
        for (const { seq } of found) this.#remove(seq)
      },
    }
  }

  #forget(messageId: string, queue: ReceiptQueue): void {
    const queues = this.#queues.get(messageId)
    if (queues?.delete(queue) && queues.size === 0) this.#queues.delete(messageId)
  }

  /** Removes a receipt that the application has. Receipts that are removed during a request share the next one. */
  #remove(seq: number): void {
    this.#removed.push(seq)
    if (!this.#isRemoving) this.#removals.track(this.#removeAll())
  }

  async #removeAll(): Promise<void> {
    this.#isRemoving = true
    await Promise.resolve()
    while (this.#removed.length > 0) {
      const seqs = this.#removed.splice(0, fixed.batchMessages)
      // If this fails, the receipts stay, and a later program gets them again.
      await this.#options.mailbox.remove(seqs, this.#stopping.signal).catch(() => {})
    }
    this.#isRemoving = false
  }

  get #isAwaited(): boolean {
    return (this.#queues.size > 0 || this.#others !== undefined) && !this.#stopping.signal.aborted
  }

  #start(): void {
    if (this.#isListing || !this.#isAwaited) return
    this.#isListing = true
    void this.#run().finally(() => {
      this.#isListing = false
    })
  }

  /** Lists receipts while some are awaited. */
  async #run(): Promise<void> {
    const { clock } = this.#options.platform
    const { signal } = this.#stopping
    while (this.#isAwaited) {
      if (this.#hasNew) {
        this.#hasNew = false
        await this.#list(signal).catch((error: unknown) => this.#fail(OspError.from(error)))
        continue
      }
      this.#wake = deferred()
      const waiting = new AbortController()
      using _ = onAbort(signal, () => waiting.abort())
      const polled = wait(clock, pollMs, waiting.signal).then(
        () => {
          this.#hasNew = true
        },
        () => {},
      )
      await Promise.race([this.#wake.promise, polled])
      waiting.abort()
    }
  }

  #fail(error: OspError): void {
    for (const queues of this.#queues.values()) for (const queue of queues) queue.fail(error)
    this.#others?.fail(error)
    this.#queues.clear()
    this.#others = undefined
  }

  async #list(signal: AbortSignal): Promise<void> {
    for (;;) {
      let last = this.#lastSeq
      const page = await this.#options.mailbox.page(last, signal)
      if (page.length === 0) return
      for (const decoded of page) {
        // `listAll` can reset it during the request, to list from the first receipt again.
        if (this.#lastSeq === last) this.#lastSeq = last = decoded.receipt.seq
        this.#dispatch(foundIn(decoded))
      }
    }
  }

  #dispatch(found: Found): void {
    const { seq, receipt } = found
    const isHeld = this.#held.of(uploadPartOf(receipt.messageId)) > 0
    const others = this.#others && !isHeld ? [this.#others] : undefined
    const queues = this.#queues.get(receipt.messageId) ?? others
    if (!queues || this.#taken.has(seq)) return
    this.#taken.set(seq, true)
    for (const queue of queues) queue.add(found)
  }

  #listAll(): void {
    this.#lastSeq = 0
    this.changed()
  }
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

const stateNames: ReadonlyMap<number, keyof typeof receiptStates> = new Map(
  Object.entries(receiptStates).map(([name, number]) => [number, name as keyof typeof receiptStates]),
)

/** Returns the receipt in a message. Throws OspError `malformed`. */
function foundIn({ receipt: { seq }, attributes: { receipt }, content }: Decoded): Found {
  const state = receipt && stateNames.get(receipt.state)
  if (!state) throw protocolViolation('it listed an invalid receipt')
  const { messageId, recipient, at } = receipt
  const result = decoder.decode(content)
  return { seq, receipt: { messageId: hex(messageId), recipient, state, at: new Date(at), result } }
}
