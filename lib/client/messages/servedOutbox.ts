import { OspError } from '../../errors.ts'
import type { Control, Served } from '../../ports/control.ts'
import type { Clock } from '../../ports/platform.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { whenAborted } from '../../runtime/wait.ts'
import { OutboxEntry } from './outboxEntry.ts'
import {
  type MessageOutcome,
  messageFailureOf,
  type OutboxRequest,
  outboxRequestBounds,
  readOutboxRequest,
} from './outboxRequests.ts'
import { outgoingOf } from './outgoing.ts'

export interface ServedOutboxOptions {
  readonly outbox: {
    add(entry: OutboxEntry): Promise<void>
    remove(entry: OutboxEntry): void
    readonly entries: ReadonlyMap<number, OutboxEntry>
  }
  /** Resolves when the messages of earlier programs are loaded. */
  readonly loaded: Promise<void>
  readonly clock: Clock
  /** Called when a request has ended. */
  readonly idle: () => void
}

/** Executes the requests of other programs that share an outbox. */
export class ServedOutbox {
  readonly #options: ServedOutboxOptions
  readonly #answering = new PendingWork()
  /** The programs that await the outcomes of their messages, by number. */
  readonly #subscribers = new Map<number, (outcome: MessageOutcome) => void>()
  #lastSubscriber = 0
  #served: Served | undefined
  #isEnding = false

  private constructor(options: ServedOutboxOptions) {
    this.#options = options
  }

  /** Rejects with OspError `data-locked` if another program serves the outbox. */
  static async serve(control: Control, options: ServedOutboxOptions): Promise<ServedOutbox> {
    const outbox = new ServedOutbox(options)
    outbox.#served = await control.serve((request, reply, signal) => outbox.#answer(request, reply, signal))
    return outbox
  }

  get isIdle(): boolean {
    return this.#subscribers.size === 0 && this.#answering.isSettled
  }

  /** Refuses further requests. */
  end(): void {
    this.#isEnding = true
  }

  async close(): Promise<void> {
    await this.#served?.close()
  }

  async #answer(value: unknown, reply: (answer: unknown) => void, signal: AbortSignal): Promise<void> {
    if (this.#isEnding) throw shuttingDown()
    const request = readOutboxRequest(value)
    if (request.do === 'await') {
      const waiter = ++this.#lastSubscriber
      this.#subscribers.set(waiter, reply)
      reply({ waiter })
      await whenAborted(signal)
      this.#subscribers.delete(waiter)
    } else {
      const answering = this.#carryOut(request)
      this.#answering.track(answering)
      reply(await answering)
    }
    this.#options.idle()
  }

  async #carryOut(request: Exclude<OutboxRequest, { do: 'await' }>): Promise<object> {
    await this.#options.loaded
    if (this.#isEnding) throw shuttingDown()
    switch (request.do) {
      case 'list':
        return this.#page(request.after)
      case 'remove':
        return { removed: this.#remove(request.numbers) }
      case 'add':
        return { added: await Promise.all(request.messages.map((message) => this.#add(message, request.waiter))) }
    }
  }

  async #add(message: { id: string; recipients: readonly string[]; body: string }, waiter: number): Promise<object> {
    const { id, recipients, body } = message
    const outgoing = outgoingOf({ messageId: bytesOfHex(id), recipients, body: bytesOfHex(body) })
    const entry = new OutboxEntry(outgoing, this.#options.clock.wallTime())
    const report = (outcome: object) =>
      this.#subscribers.get(waiter)?.({ number: entry.number, ...outcome } as MessageOutcome)
    entry.refused = (error, isKept) => report({ error: messageFailureOf(error), isKept })
    // If this program ends first, the other one notices that it has disconnected.
    entry.stored.promise.then(
      (states) => report({ states }),
      () => {},
    )
    try {
      await this.#options.outbox.add(entry)
    } catch (error) {
      return messageFailureOf(OspError.from(error))
    }
    return { number: entry.number }
  }

  #remove(numbers: readonly number[]): readonly number[] {
    const { outbox } = this.#options
    const entries = numbers.flatMap((number) => outbox.entries.get(number) ?? [])
    for (const entry of entries) outbox.remove(entry)
    return entries.map(({ number }) => number)
  }

  /** Lists messages that the store has. One that is still being added could be lost with this program. */
  #page(after: number): object {
    const entries = [...this.#options.outbox.entries.values()]
    const all = entries.filter(({ number, outgoing }) => number > after && outgoing.queueState)
    const messages = all.slice(0, outboxRequestBounds.items).map(({ number, outgoing, queuedAt, refusal }) => {
      const { messageId, recipients, body } = outgoing.message
      const failure = refusal && { refusal: messageFailureOf(refusal) }
      return { number, id: hex(messageId), recipients, bytes: body.length, queuedAt, ...failure }
    })
    return { messages, more: messages.length < all.length }
  }
}

const shuttingDown = () => new OspError('shutting-down', 'the program that uses the outbox is about to end')
