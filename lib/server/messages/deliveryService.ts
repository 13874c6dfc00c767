import { Queue } from '../../core/queue.ts'
import { OspError } from '../../errors.ts'
import type { Limits } from '../../limits.ts'
import type { MailboxBounds, MailboxStore } from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'
import type { Connection } from '../app.ts'
import type { ServerGaugeSink } from '../gauges.ts'
import type { ServerLog } from '../logEvents.ts'
import type { RetentionClock } from '../retentionClock.ts'
import { Delivery } from './delivery.ts'
import { DeliveryBudget } from './deliveryBudget.ts'

/** How often messages and ids are looked at that have passed their age limit. */
const sweepMs = 3_600_000

export interface DeliveryServiceOptions {
  readonly mailboxes: MailboxStore
  readonly limits: Limits
  readonly platform: Platform
  readonly log: ServerLog
  readonly age: Pick<RetentionClock, 'now'>
  /** Disk space that messages currently leave free. */
  readonly reserveBytes: () => number
}

/** A message as a client posts it. */
export interface Posted {
  readonly sender: string
  readonly id: Uint8Array
  readonly content: Uint8Array
}

/**
 * Takes messages in and sends them on. The sending work of all recipients is one queue: each has its turn for one message,
 * and whose delivery is not answered in time goes to the tail (the seed's 一对多消息发送).
 */
export class DeliveryService {
  readonly #options: DeliveryServiceOptions
  readonly #bounds: MailboxBounds
  readonly #deliveries = new Map<string, Delivery>()
  /** Of each user, how often what is unanswered was sent on links that have ended. */
  readonly #attempts = new Map<string, Map<number, number>>()
  readonly #work = new Queue<Delivery>()
  /** Those in `#work`. */
  readonly #queued = new Set<Delivery>()
  readonly #memory: DeliveryBudget
  readonly #sweep: Alarm
  /** What closing waits for. */
  readonly #underWay = new Set<Promise<unknown>>()
  #watching: Disposable | undefined
  #oldSeq = 0
  #damagesTold = 0
  #pumping = false

  constructor(options: DeliveryServiceOptions) {
    this.#options = options
    const { limits, platform } = options
    this.#bounds = {
      messages: limits.mailboxMessages,
      bytes: limits.mailboxBytes,
      allMessages: limits.waitingMessages,
      senderIds: limits.senderIds,
      allIds: limits.messageIds,
      sharePercent: limits.senderSharePercent,
      get reserveBytes() {
        return options.reserveBytes()
      },
    }
    this.#memory = new DeliveryBudget(limits.deliveryMemoryBytes, (delivery) => this.#ready(delivery))
    this.#sweep = new Alarm(platform.clock, () => this.#track(this.#expire()))
  }

  /** Takes up the mailboxes as the storage has them. */
  async open(): Promise<void> {
    const { mailboxes } = this.#options
    await this.#tellDamages()
    this.#oldSeq = await mailboxes.lastSeq()
    this.#watching = mailboxes.watch((user) => this.#deliveries.get(user)?.appended())
    await this.#expire()
  }

  /** Stores a message for all of `recipients`: durable. Rejects as `MailboxStore.append` does. */
  post({ sender, id, content }: Posted, recipients: readonly string[]): Promise<void> {
    const { mailboxes, platform, age } = this.#options
    // A machine that takes the time for one before 1970 still relays messages.
    const sentAt = Math.max(0, platform.clock.wallTime())
    const message = { sender, id, content, sentAt, storedAt: age.now() }
    const appended = mailboxes.append(message, recipients, this.#bounds)
    this.#track(appended)
    return appended
  }

  /** Begins to send `caller`'s user what waits and what comes. */
  deliver(caller: Connection): void {
    const { user } = caller
    this.stop(user)
    const attempts = this.#attempts.get(user) ?? new Map<number, number>()
    const { mailboxes, limits, platform, log } = this.#options
    const delivery = new Delivery(caller, attempts, {
      mailboxes,
      limits,
      clock: platform.clock,
      log,
      oldSeq: this.#oldSeq,
      ready: (which) => this.#ready(which),
      hold: (which, bytes) => this.#memory.hold(which, bytes),
      mayRead: (which) => this.#memory.mayRead(which),
      looked: (which) => {
        this.#memory.read(which)
        return this.#tellDamages()
      },
      underWay: (work) => this.#track(work),
    })
    this.#deliveries.set(user, delivery)
    this.#ready(delivery)
  }

  /** Sends a user nothing more; what is unanswered stays in the mailbox. */
  stop(user: string): void {
    const delivery = this.#deliveries.get(user)
    if (!delivery) return
    this.#deliveries.delete(user)
    this.#attempts.set(user, delivery.end())
    this.#memory.forget(delivery)
  }

  held(tell: ServerGaugeSink): void {
    let bytes = 0
    for (const { heldBytes } of this.#deliveries.values()) bytes += heldBytes
    tell('bytes of deliveries', bytes)
    for (const { size } of this.#attempts.values()) tell('attempts of a user that are remembered', size)
  }

  /** Resolves when the mailboxes are left alone. */
  async close(): Promise<void> {
    this.#sweep.stop()
    this.#watching?.[Symbol.dispose]()
    this.#watching = undefined
    for (const user of [...this.#deliveries.keys()]) this.stop(user)
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay)
  }

  /** Logs what was found damaged since this was last done. */
  async #tellDamages(): Promise<void> {
    const { mailboxes, log } = this.#options
    const damages = await mailboxes.damages()
    for (const { file, offset, bytes, atEnd } of damages.slice(this.#damagesTold)) {
      if (atEnd) log({ level: 'warn', event: 'mailboxes-cut', file, offset, bytes })
      else log({ level: 'error', event: 'mailboxes-damaged', file, offset, bytes })
    }
    this.#damagesTold = Math.max(this.#damagesTold, damages.length)
  }

  #track(work: Promise<unknown>): void {
    this.#underWay.add(work)
    const ended = () => this.#underWay.delete(work)
    work.then(ended, ended)
  }

  #ready(delivery: Delivery): void {
    if (this.#queued.has(delivery)) return
    this.#queued.add(delivery)
    this.#work.push(delivery)
    if (!this.#pumping) this.#pump()
  }

  #pump(): void {
    this.#pumping = true
    try {
      for (let delivery = this.#work.shift(); delivery; delivery = this.#work.shift()) {
        this.#queued.delete(delivery)
        if (delivery.turn()) this.#ready(delivery)
      }
    } finally {
      this.#pumping = false
    }
  }

  async #expire(): Promise<void> {
    const { mailboxes, limits, platform, log, age } = this.#options
    const now = age.now()
    try {
      for (const { user, messages } of await mailboxes.expire(
        now,
        now - limits.messageAgeMs,
        now - limits.messageIdMs,
      )) {
        log({ level: 'warn', event: 'messages-expired', user, messages })
      }
      const waiting = new Set((await mailboxes.levels()).map(({ user }) => user))
      for (const user of this.#attempts.keys()) if (!waiting.has(user)) this.#attempts.delete(user)
    } catch (error) {
      log({ level: 'error', event: 'mailboxes-not-swept', text: OspError.from(error).message })
    }
    if (this.#watching) this.#sweep.by(platform.clock.now() + sweepMs)
  }
}
