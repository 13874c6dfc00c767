import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { OutboxStore, QueuedMessage } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Clock } from '../../ports/platform.ts'
import { deferred } from '../../runtime/deferred.ts'
import { bytesOfHex, hex } from '../../runtime/hex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { wait } from '../../runtime/wait.ts'
import { neverSent, type Outbox } from './outbox.ts'
import { OutboxEntry } from './outboxEntry.ts'
import { type Outgoing, outgoingOf } from './outgoing.ts'
import type { ServedOutbox } from './servedOutbox.ts'

/** The delay before a failed change of the store is retried. */
const retryMs = 1_000

export interface OwnOutboxOptions {
  readonly store: OutboxStore
  readonly outbox: Outbox
  readonly clock: Clock
  readonly log: Log
  /** Called when the server refuses a message, which leaves the outbox unless `isKept` is set. */
  readonly refused: (entry: OutboxEntry, error: OspError, isKept: boolean) => void
  /** Called when another program has removed a message. */
  readonly removed: (entry: OutboxEntry, error: OspError) => void
  /** Called when there is a message to send. */
  readonly found: () => void
  /** Called when the outbox is empty, and no other program is asking. */
  readonly idle: () => void
}

/** The outbox of a state while this program uses it. Other programs can add messages. */
export class OwnOutbox {
  readonly #options: OwnOutboxOptions
  /** The messages in the store, and those that are being added, by number. */
  readonly #entries = new Map<number, OutboxEntry>()
  #bytes = 0
  #lastNumber = 0
  readonly #loaded = deferred<void>()
  readonly #writing = new PendingWork()
  /** Changes, with the waits after failed writes. */
  readonly #changing = new PendingWork()
  #served: ServedOutbox | undefined
  /** The error after which no more messages are sent. */
  #over: OspError | undefined
  readonly #closing = new AbortController()
  /** Resolves when the next message is temporarily refused. */
  #deferral = deferred<void>()

  constructor(options: OwnOutboxOptions) {
    this.#options = options
  }

  /** Opens the outbox, with the messages of earlier programs. Rejects with OspError `data-locked` if another program has it. */
  async open(): Promise<void> {
    const { store, clock } = this.#options
    if (store.control) {
      // Loaded only if programs share the outbox.
      const { ServedOutbox: Serving } = await import('./servedOutbox.ts')
      const outbox = {
        add: (entry: OutboxEntry) => this.add(entry),
        remove: (entry: OutboxEntry) => this.remove(entry),
        entries: this.#entries,
      }
      this.#served = await Serving.serve(store.control, {
        outbox,
        loaded: this.#loaded.promise,
        clock,
        idle: () => this.#checkIdle(),
      })
    }
    try {
      for (const message of await store.load()) this.#restore(message, clock.wallTime())
      this.#loaded.resolve()
    } catch (error) {
      this.#loaded.reject(error)
      await this.close(OspError.from(error))
      throw error
    }
  }

  get gauges() {
    return { unsentMessages: this.#entries.size, unsentMessageBytes: this.#bytes }
  }

  /** Whether it holds nothing and does nothing. */
  get isIdle(): boolean {
    const isWriting = !this.#writing.isSettled || !this.#changing.isSettled
    return this.#entries.size === 0 && !isWriting && this.#served?.isIdle !== false
  }

  /** Adds a message. Resolves when the store has it. Rejects with OspError `outbox-full`, or with the error of the store. */
  async add(entry: OutboxEntry): Promise<void> {
    const { store, clock, outbox } = this.#options
    const { message, bytes } = entry.outgoing
    const { sends, sendBytes } = clientLimits
    if (this.#over) throw this.#over
    if (this.#entries.size >= sends || this.#bytes + bytes > sendBytes) throw outboxFull()
    entry.number = ++this.#lastNumber
    this.#entries.set(entry.number, entry)
    this.#bytes += bytes
    const { knownForMs } = outbox
    const record: QueuedMessage = {
      number: entry.number,
      id: hex(message.messageId),
      recipients: message.recipients,
      body: message.body,
      queuedAt: entry.queuedAt,
      // It is sent as soon as it is stored.
      ...(knownForMs !== undefined && { knownUntil: clock.wallTime() + knownForMs }),
    }
    const adding = store.add(record)
    this.#writing.track(adding)
    try {
      await adding
    } catch (error) {
      // The store may have it.
      this.#forget(entry)
      throw error
    }
    entry.queued.resolve()
    if (entry.isAbandoned) this.#forget(entry)
    else if (this.#over) entry.reject(this.#over)
    else this.#submit(entry, knownForMs !== undefined)
  }

  /** Abandons a message, and removes it from the store. Rejects its promises with the returned error, as `Outbox.abandon` does. */
  abandon(entry: OutboxEntry, unsent = neverSent()): OspError {
    entry.isAbandoned = true
    if (entry.outgoing.queueState) return this.#options.outbox.abandon(entry.outgoing, unsent)
    entry.reject(unsent)
    return unsent
  }

  /** Removes a message at the request of another program. */
  remove(entry: OutboxEntry): void {
    const text = 'the message was removed from the outbox before it was sent'
    const error = this.abandon(entry, new OspError('cancelled', text))
    this.#options.removed(entry, error)
    entry.refused(error, false)
  }

  /** Resolves when each message now in the outbox is stored or refused, or waits for a message that was temporarily refused. */
  async flush(): Promise<void> {
    const entries = [...this.#entries.values()]
    for (let open = unheld(entries); open.length > 0; open = unheld(entries)) {
      const stored = Promise.allSettled(open.map((entry) => entry.stored.promise))
      await Promise.race([stored, this.#deferral.promise])
    }
  }

  /** Rejects the messages, which stay in the store, and lets other programs use it. The memory outbox must have failed before. */
  async close(error: OspError): Promise<void> {
    this.#over ??= error
    this.#served?.end()
    this.#closing.abort()
    // Writes in progress are completed, but not retried.
    await this.#writing.settled()
    for (const entry of this.#entries.values()) this.#keep(entry, error)
    await this.#served?.close()
  }

  /** Resolves when the store has all changes. */
  settled(): Promise<void> {
    return this.#writing.settled()
  }

  /** Records in the store that messages may be sent. Tries again until it succeeds or the outbox is closed. */
  mark(messages: readonly Outgoing[], knownForMs: number): Promise<void> {
    const numbers = messages.flatMap(({ queueState }) => queueState?.number ?? [])
    const { store, clock } = this.#options
    return this.#write(() => store.mark(numbers, clock.wallTime() + knownForMs))
  }

  #restore(message: QueuedMessage, wallTime: number): void {
    const { number, id, recipients, body, queuedAt, knownUntil } = message
    const entry = new OutboxEntry(outgoingOf({ messageId: bytesOfHex(id), recipients, body }), queuedAt)
    const { outgoing } = entry
    entry.number = number
    entry.queued.resolve()
    this.#lastNumber = Math.max(this.#lastNumber, number)
    this.#entries.set(number, entry)
    this.#bytes += outgoing.bytes
    if (knownUntil !== undefined) outgoing.knownUntilMs = this.#options.clock.now() + knownUntil - wallTime
    this.#submit(entry, knownUntil !== undefined)
  }

  #submit(entry: OutboxEntry, isMarked: boolean): void {
    const { outgoing, number } = entry
    const onDeferred = (error: OspError) => {
      entry.refusal = error
      this.#refused(entry, error, true)
      this.#deferral.resolve()
      this.#deferral = deferred()
    }
    outgoing.queueState = { number, isMarked, refusals: 0, retryAtMs: 0, deferred: onDeferred }
    outgoing.resolve = (states) => {
      this.#forget(entry)
      entry.resolve(states)
    }
    outgoing.reject = (error, isKept) => {
      if (isKept) return this.#keep(entry, error)
      this.#forget(entry)
      entry.reject(error)
      if (!entry.isAbandoned) this.#refused(entry, error, false)
    }
    this.#options.outbox.add(outgoing)
    this.#options.found()
  }

  #keep(entry: OutboxEntry, error: OspError): void {
    if (!entry.isOver) entry.reject(error)
  }

  #refused(entry: OutboxEntry, error: OspError, isKept: boolean): void {
    this.#options.refused(entry, error, isKept)
    entry.refused(error, isKept)
  }

  /** Removes a message from the store. */
  #forget(entry: OutboxEntry): void {
    if (!this.#entries.delete(entry.number)) return
    this.#bytes -= entry.outgoing.bytes
    void this.#write(() => this.#options.store.remove([entry.number])).then(() => this.#checkIdle())
  }

  /** Changes the store. Tries again until it succeeds or the outbox is closed. */
  #write(change: () => Promise<void>): Promise<void> {
    const changing = this.#change(change)
    this.#changing.track(changing)
    return changing
  }

  async #change(change: () => Promise<void>): Promise<void> {
    const { clock, log } = this.#options
    const { signal } = this.#closing
    for (;;) {
      const writing = change()
      this.#writing.track(writing)
      try {
        return await writing
      } catch (error) {
        log({ level: 'error', event: 'outbox-not-stored', text: OspError.from(error).message })
      }
      if (signal.aborted) return
      await wait(clock, retryMs, signal).catch(() => {})
      if (signal.aborted) return
    }
  }

  #checkIdle(): void {
    if (this.isIdle) this.#options.idle()
  }
}

/** Returns the unfinished entries that do not wait for an entry that was temporarily refused, or for an entry after it. */
function unheld(entries: readonly OutboxEntry[]): readonly OutboxEntry[] {
  const held = new Set<string>()
  return entries.filter(({ isOver, refusal, outgoing }) => {
    if (isOver) return false
    const { recipients } = outgoing.message
    if (!refusal && !recipients.some((recipient) => held.has(recipient))) return true
    for (const recipient of recipients) held.add(recipient)
    return false
  })
}

export const outboxFull = () =>
  new OspError('outbox-full', 'the outbox is full; wait until some of its messages are sent, or remove messages')
