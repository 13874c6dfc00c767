import { OspError } from '../../errors.ts'
import type { MailboxBounds, NewMessage } from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import type { Connection, ServerContext } from '../app.ts'
import { DamageReporter } from '../damageReporter.ts'
import type { DiskSpace } from '../files/diskSpace.ts'
import type { ServerGauges } from '../status.ts'
import { Delivery, type DeliveryContext } from './delivery.ts'
import { DeliveryBudget, RoundRobin } from './deliveryBudget.ts'

/** Time between two searches for expired messages and message ids. */
const expireMs = 3_600_000

/** A message as a client posts it. */
type PostedMessage = Pick<NewMessage, 'sender' | 'id' | 'content'>

/** Stores messages in mailboxes and delivers them. All deliveries share one scheduler and one memory budget. */
export class DeliveryService {
  readonly #age: ServerContext['age']
  readonly #bounds: MailboxBounds
  readonly #context: DeliveryContext & { oldSeq: number }
  readonly #deliveries = new Map<string, Delivery>()
  /** By user, the attempts of unanswered messages on links that have ended. */
  readonly #attempts = new Map<string, Map<number, number>>()
  readonly #alarm: Alarm
  #watching: Disposable | undefined

  /** Messages leave `messageReserveBytes` of `disk` free. */
  constructor({ platform, storage, limits, log, age }: ServerContext, disk: Pick<DiskSpace, 'messageReserveBytes'>) {
    const { mailboxes } = storage
    this.#age = age
    this.#bounds = {
      messages: limits.mailboxMessages,
      bytes: limits.mailboxBytes,
      allMessages: limits.waitingMessages,
      senderIds: limits.senderIds,
      allIds: limits.messageIds,
      sharePercent: limits.senderSharePercent,
      get reserveBytes() {
        return disk.messageReserveBytes
      },
    }
    const scheduler = new RoundRobin()
    this.#context = {
      platform,
      limits,
      log,
      mailboxes,
      scheduler,
      budget: new DeliveryBudget(limits.deliveryMemoryBytes, scheduler),
      damages: new DamageReporter('mailboxes', mailboxes, log),
      pending: new PendingWork(),
      oldSeq: 0,
    }
    this.#alarm = new Alarm(platform.clock, () => this.#context.pending.track(this.#expire()))
  }

  /** Starts with the mailboxes of an open storage. */
  async open(): Promise<void> {
    const { mailboxes, damages } = this.#context
    await damages.report()
    this.#context.oldSeq = await mailboxes.lastSeq()
    this.#watching = mailboxes.watch((user) => this.#deliveries.get(user)?.appended())
    await this.#expire()
  }

  /** Resolves when the message is durable in the mailboxes of all recipients. Rejects as `MailboxStore.append` does. */
  post({ sender, id, content }: PostedMessage, recipients: readonly string[]): Promise<void> {
    const { mailboxes, platform, pending } = this.#context
    // The clock of a misconfigured machine may be before 1970.
    const sentAt = Math.max(0, platform.clock.wallTime())
    const message = { sender, id, content, sentAt, storedAt: this.#age.now() }
    const appended = mailboxes.append(message, recipients, this.#bounds)
    pending.track(appended)
    return appended
  }

  /** Starts to deliver the mailbox of the caller's user to the caller. */
  deliver(caller: Connection): void {
    const { user } = caller
    this.stop(user)
    const attempts = this.#attempts.get(user) ?? new Map<number, number>()
    const delivery = new Delivery(caller, attempts, this.#context)
    this.#deliveries.set(user, delivery)
    this.#context.scheduler.schedule(delivery)
  }

  /** Stops the delivery to a user. Unanswered messages stay in the mailbox. */
  stop(user: string): void {
    const delivery = this.#deliveries.get(user)
    if (!delivery) return
    this.#deliveries.delete(user)
    this.#attempts.set(user, delivery.end())
  }

  get gauges(): Pick<ServerGauges, 'deliveryBytes' | 'rememberedAttemptsPerUser'> {
    let [deliveryBytes, rememberedAttemptsPerUser] = [0, 0]
    for (const { bufferedBytes } of this.#deliveries.values()) deliveryBytes += bufferedBytes
    for (const { size } of this.#attempts.values()) {
      rememberedAttemptsPerUser = Math.max(rememberedAttemptsPerUser, size)
    }
    return { deliveryBytes, rememberedAttemptsPerUser }
  }

  /** Stops all deliveries. Resolves when no work on the mailboxes is pending. */
  async close(): Promise<void> {
    this.#alarm.stop()
    this.#watching?.[Symbol.dispose]()
    this.#watching = undefined
    for (const user of [...this.#deliveries.keys()]) this.stop(user)
    await this.#context.pending.settled()
  }

  async #expire(): Promise<void> {
    const { mailboxes, limits, platform, log } = this.#context
    const now = this.#age.now()
    try {
      const expired = await mailboxes.expire(now, now - limits.messageAgeMs, now - limits.messageIdMs)
      for (const { user, messages } of expired) log({ level: 'warn', event: 'messages-expired', user, messages })
      const waiting = new Set((await mailboxes.levels()).map(({ user }) => user))
      for (const user of this.#attempts.keys()) if (!waiting.has(user)) this.#attempts.delete(user)
    } catch (error) {
      log({ level: 'error', event: 'mailboxes-not-swept', text: OspError.from(error).message })
    }
    if (this.#watching) this.#alarm.by(platform.clock.now() + expireMs)
  }
}
