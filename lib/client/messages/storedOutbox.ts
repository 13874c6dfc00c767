import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { OutboxStore } from '../../ports/clientState.ts'
import type { Log } from '../../ports/log.ts'
import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { hex } from '../../runtime/hex.ts'
import { onAbort } from '../../runtime/wait.ts'
import { isAbsent, remoteOrOwn } from '../tasks/remoteOrOwn.ts'
import type { JoinedOutbox } from './joinedOutbox.ts'
import { neverSent, type Outbox } from './outbox.ts'
import { OutboxEntry } from './outboxEntry.ts'
import type { Outgoing } from './outgoing.ts'
import { OwnOutbox, outboxFull } from './ownOutbox.ts'

/** The time for which a program keeps an empty outbox open. */
const lingerMs = 1_000

export interface StoredOutboxOptions {
  readonly store: OutboxStore
  readonly outbox: Outbox
  readonly clock: Clock
  readonly log: Log
  /** Called when there are messages to send, which this program or another one may have queued. */
  readonly found: () => void
  /**
   * Called when the server refuses a message, which leaves the outbox unless `isKept` is set, and when another program has removed
   * a message of this program.
   */
  readonly refused: (entry: OutboxEntry, error: OspError, isKept: boolean) => void
}

/**
 * Sends messages through the outbox of a state, which is kept over restarts of the program. One program at a time uses the
 * outbox. The others add their messages to that program; when it ends, one of them continues.
 */
export class StoredOutbox {
  readonly #options: StoredOutboxOptions
  /** The messages of this program. */
  readonly #entries = new Set<OutboxEntry>()
  #bytes = 0
  #current: Promise<OwnOutbox | JoinedOutbox> | undefined
  #own: OwnOutbox | undefined
  #joined: JoinedOutbox | undefined
  #isOpen = false
  /** Resolves when the previous outbox was left. */
  #leaving: Promise<void> = Promise.resolve()
  readonly #linger: Alarm
  #over: OspError | undefined
  #isResumed = false

  constructor(options: StoredOutboxOptions) {
    this.#options = options
    this.#linger = new Alarm(options.clock, () => this.#leaveIfIdle())
  }

  get gauges() {
    return this.#own?.gauges ?? { unsentMessages: this.#entries.size, unsentMessageBytes: this.#bytes }
  }

  /** Adds a message. Throws OspError `outbox-full`, `closed`, or the error of a message that cannot be sent. */
  send(outgoing: Outgoing, signal: AbortSignal | undefined): OutboxEntry {
    if (signal?.aborted) throw neverSent()
    const { clock, outbox } = this.#options
    const { sends, sendBytes } = clientLimits
    if (this.#entries.size >= sends || this.#bytes + outgoing.bytes > sendBytes) throw outboxFull()
    outbox.check(outgoing)
    const entry = new OutboxEntry(outgoing, clock.wallTime())
    this.#entries.add(entry)
    this.#bytes += outgoing.bytes
    const aborted = signal && onAbort(signal, () => this.#abandon(entry))
    const end = () => {
      aborted?.[Symbol.dispose]()
      this.#entries.delete(entry)
      this.#bytes -= outgoing.bytes
      if (this.#entries.size === 0) this.#leaveLater()
    }
    entry.stored.promise.then(end, end)
    this.#add(entry)
    return entry
  }

  /** Begins to send the messages of earlier programs, unless another program sends them. */
  resume(): void {
    if (this.#isResumed || this.#over) return
    this.#isResumed = true
    this.#openedIfUsed().catch((error: unknown) => {
      if (error !== this.#over) this.#failed(error)
    })
  }

  /** Resolves as `OwnOutbox.flush` does, or immediately if another program is sending the messages. */
  async flush(): Promise<void> {
    const current = await this.#openedIfUsed()
    if (current instanceof OwnOutbox) await current.flush()
  }

  mark(messages: readonly Outgoing[], knownForMs: number): Promise<void> {
    return this.#own?.mark(messages, knownForMs) ?? Promise.resolve()
  }

  /** Resolves when the store has all changes. */
  async settled(): Promise<void> {
    await Promise.all([...this.#entries].map(({ queued }) => queued.promise.catch(() => {})))
    await this.#own?.settled()
  }

  /** Fails all promises. Messages that the server has not stored stay in the store. */
  fail(error: OspError): void {
    if (this.#over) return
    this.#over = error
    this.#linger.stop()
    this.#leave()
  }

  /** Resolves when other programs can use the store. */
  async left(): Promise<void> {
    await this.#current?.catch(() => {})
    await this.#leaving
  }

  #add(entry: OutboxEntry): void {
    this.#opened().then(
      (current) => this.#addTo(current, entry),
      (error: unknown) => entry.reject(OspError.from(error)),
    )
  }

  #addTo(current: OwnOutbox | JoinedOutbox, entry: OutboxEntry): void {
    if (entry.isAbandoned) return
    if (this.#over) {
      entry.reject(this.#over)
      return
    }
    current.add(entry).catch((error: unknown) => {
      // The other program has ended, before or after it has stored the message. The message keeps its id in the next outbox.
      if (!(current instanceof OwnOutbox) && isAbsent(error) && !this.#over) this.#again(current)
      else entry.reject(OspError.from(error))
    })
  }

  /** Adds the messages of a lost outbox to the next one, in order. */
  #again(lost: JoinedOutbox): void {
    if (this.#over || !this.#isCurrent(lost)) return
    this.#forgetCurrent()
    lost.leave()
    for (const entry of this.#entries) this.#add(entry)
  }

  #isCurrent(current: OwnOutbox | JoinedOutbox): boolean {
    return this.#own === current || this.#joined === current
  }

  #abandon(entry: OutboxEntry): void {
    const current = this.#own ?? this.#joined
    if (current) current.abandon(entry)
    else {
      entry.isAbandoned = true
      entry.reject(neverSent())
    }
  }

  /** Resolves with `undefined` if no program has used the outbox. */
  async #openedIfUsed(): Promise<OwnOutbox | JoinedOutbox | undefined> {
    const { store } = this.#options
    const isUsed = this.#current !== undefined || !store.isUsed || (await store.isUsed())
    if (this.#over) throw this.#over
    return isUsed ? await this.#opened() : undefined
  }

  #opened(): Promise<OwnOutbox | JoinedOutbox> {
    this.#current ??= this.#open()
    return this.#current
  }

  async #open(): Promise<OwnOutbox | JoinedOutbox> {
    const { store, clock } = this.#options
    const { control } = store
    try {
      await this.#leaving
      const current = control
        ? await remoteOrOwn<OwnOutbox | JoinedOutbox>(
            clock,
            () => this.#join(control),
            () => this.#openOwn(),
          )
        : await this.#openOwn()
      this.#isOpen = true
      if (this.#over) {
        // The client has failed meanwhile. Its messages are still queued for the next program.
        const entries = [...this.#entries].filter(({ isAbandoned }) => !isAbandoned)
        if (current instanceof OwnOutbox) await Promise.allSettled(entries.map((entry) => current.add(entry)))
        this.#leave()
      } else this.#leaveLater()
      return current
    } catch (error) {
      this.#forgetCurrent()
      throw error
    }
  }

  async #openOwn(): Promise<OwnOutbox> {
    const { store, outbox, clock, log, refused, found } = this.#options
    const removed = (entry: OutboxEntry, error: OspError) => {
      if (this.#entries.has(entry)) refused(entry, error, false)
    }
    const own = new OwnOutbox({ store, outbox, clock, log, refused, removed, found, idle: () => this.#leaveLater() })
    this.#own = own
    try {
      await own.open()
    } catch (error) {
      this.#own = undefined
      throw error
    }
    return own
  }

  async #join(control: NonNullable<OutboxStore['control']>): Promise<JoinedOutbox> {
    // Loaded only if programs share the outbox.
    const { JoinedOutbox: Joined } = await import('./joinedOutbox.ts')
    const joined: JoinedOutbox = await Joined.join(control, () => this.#again(joined), this.#options.refused)
    this.#joined = joined
    return joined
  }

  #leaveLater(): void {
    if (!this.#over) this.#linger.by(this.#options.clock.now() + lingerMs)
  }

  #leaveIfIdle(): void {
    if (this.#entries.size === 0 && (this.#own?.isIdle ?? this.#joined?.isIdle)) this.#leave()
  }

  /** Leaves the outbox. The next message opens it again, unless this one has failed. */
  #leave(): void {
    const [own, joined] = [this.#own, this.#joined]
    // An outbox that is being opened is left when it is open.
    if (!this.#isOpen) return
    this.#forgetCurrent()
    joined?.leave()
    const error = this.#over ?? new OspError('closed')
    if (own) this.#leaving = own.close(error).catch((failure: unknown) => this.#failed(failure))
    if (joined && this.#over) for (const entry of this.#entries) entry.reject(error)
  }

  #forgetCurrent(): void {
    this.#isOpen = false
    this.#current = undefined
    this.#own = undefined
    this.#joined = undefined
  }

  #failed(error: unknown): void {
    this.#options.log({ level: 'warn', event: 'outbox-not-opened', text: OspError.from(error).message })
  }
}

/** Returns the id of a message in hexadecimal digits. */
export const idOf = ({ outgoing }: OutboxEntry): string => hex(outgoing.message.messageId)
