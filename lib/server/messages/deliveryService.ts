import { OspError } from '../../errors.ts'
import { fixed } from '../../limits.ts'
import { deviceKey } from '../../names.ts'
import type { ListeningLink, SessionLink } from '../../ports/links.ts'
import type {
  AddressedMessage,
  ListedDevice,
  MailboxBounds,
  MailboxStore,
  StoredMessage,
  UserDevice,
} from '../../ports/mailboxes.ts'
import { Alarm } from '../../runtime/alarm.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import type { WireMessage } from '../../wire/message.ts'
import type { Connection, ServerContext } from '../app.ts'
import { DamageReporter } from '../damageReporter.ts'
import type { DiskSpace } from '../files/diskSpace.ts'
import type { ServerGauges } from '../status.ts'
import { Delivery, type DeliveryContext, type Recipient } from './delivery.ts'
import { DeliveryBudget, RoundRobin } from './deliveryBudget.ts'
import { DeliveryEncoder } from './deliveryEncoder.ts'
import { MailboxSpace } from './mailboxSpace.ts'

/** Time between two searches for expired messages and message ids. */
const expireMs = 3_600_000

/** The minimum time between two removals of messages whose time to live has expired. */
const overdueMs = 1_000

/** The maximum time for which the messages of one REQ wait for space in mailboxes. */
const fullMs = 30_000

/** A message as a client posts it. `timeToLive` is in ms. */
export type PostedMessage = Pick<AddressedMessage, 'sender' | 'id' | 'content' | 'recipients' | 'receipt'> & {
  readonly timeToLive?: number | undefined
}

/** The latest expiry time of a message. Storages keep exact numbers up to this one. */
const mostMs = 2 ** 52

type Appended = ReturnType<MailboxStore['append']>

/** Stores messages in mailboxes and delivers them. All deliveries share one scheduler and one memory budget. */
export class DeliveryService {
  readonly #age: ServerContext['age']
  readonly #bounds: MailboxBounds
  readonly #context: DeliveryContext
  /** The deliveries of each user, by device. */
  readonly #deliveries = new Map<string, Map<string, Delivery>>()
  /** By device (`deviceKey`), the attempts of unanswered messages on links that have ended. */
  readonly #attempts = new Map<string, Map<number, number>>()
  readonly #space: MailboxSpace
  readonly #alarm: Alarm
  /** Rings when the time to live of a message to a user who does not listen may have expired. */
  readonly #overdueAlarm: Alarm
  /** Whether a mailbox may have a message with a time to live. */
  #hasTimesToLive = false
  readonly #receiptsAppended: (user: string) => void
  #watching: readonly (Disposable | undefined)[] = []
  #isOpen = false

  /** Messages leave `messageReserveBytes` of `disk` free. `receiptsAppended` is called with a user with new receipts. */
  constructor(
    { platform, storage, limits, log, age }: ServerContext,
    disk: Pick<DiskSpace, 'messageReserveBytes'>,
    receiptsAppended: (user: string) => void,
  ) {
    const { mailboxes } = storage
    this.#receiptsAppended = receiptsAppended
    this.#age = age
    this.#bounds = {
      messages: limits.mailboxMessages,
      bytes: limits.mailboxBytes,
      allMessages: limits.waitingMessages,
      allBytes: limits.messageStoreBytes,
      receipts: limits.receipts,
      senderIds: limits.senderIds,
      allIds: limits.messageIds,
      sharePercent: limits.senderSharePercent,
      get reserveBytes() {
        return disk.messageReserveBytes
      },
    }
    const scheduler = new RoundRobin()
    this.#space = new MailboxSpace(platform.clock)
    this.#context = {
      platform,
      limits,
      log,
      mailboxes,
      scheduler,
      encoder: new DeliveryEncoder(),
      space: this.#space,
      budget: new DeliveryBudget(limits.deliveryMemoryBytes, scheduler),
      damages: new DamageReporter('mailboxes', mailboxes, log),
      pending: new PendingWork(),
    }
    this.#alarm = new Alarm(platform.clock, () => this.#context.pending.track(this.#expire()))
    this.#overdueAlarm = new Alarm(platform.clock, () => this.#context.pending.track(this.#expireOverdue()))
  }

  /** Starts with the mailboxes of an open storage. */
  async open(): Promise<void> {
    const { mailboxes, damages } = this.#context
    await damages.report()
    const appended = mailboxes.watch?.(
      (user) => this.#appended(user),
      (wallTime) => this.#expireBy(wallTime),
    )
    this.#watching = [appended, mailboxes.watchReceipts(this.#receiptsAppended)]
    this.#isOpen = true
    await this.#expire()
    await this.#expireOverdue()
  }

  /**
   * Appends messages of one sender, which came over its link `by`, in their order. Resolves when all appends have begun, with the outcomes of each append
   * (`MailboxStore.append`). While a mailbox has no space and its user handles messages, this waits, so that no later message
   * overtakes one that waits. When `isCurrent` returns false, because the link of the sender has ended, the remaining messages
   * have the outcome `not-registered`. The messages are not delivered until `stored` is called, which this does for messages
   * before one that may have to wait. Without `by`, the server itself sends the messages.
   */
  async post(
    posts: readonly PostedMessage[],
    by: SessionLink | undefined,
    isCurrent: () => boolean,
  ): Promise<readonly Appended[]> {
    const { mailboxes, platform } = this.#context
    if (isCurrent() && mailboxes.full(posts, this.#bounds).length === 0) return [this.#append(posts, by)]
    const untilMs = platform.clock.now() + fullMs
    const appends: Appended[] = []
    for (const post of posts) {
      for (let isWorthIt = true; isWorthIt && isCurrent(); ) {
        const full = mailboxes.full([post], this.#bounds)
        if (full.length === 0) break
        isWorthIt = await this.#space.wait(full, untilMs)
      }
      // No request of a link is started after the link has ended.
      const append = isCurrent() ? this.#append([post], by) : Promise.resolve([new OspError('not-registered')])
      // The messages after it may wait for space until this one is handled.
      if (post !== posts.at(-1)) void append.then(([error]) => error ?? this.stored(post))
      appends.push(append)
    }
    return appends
  }

  /** Delivers a stored message to its recipients. A second call does no harm. */
  stored({ recipients }: Pick<PostedMessage, 'recipients'>): void {
    for (const user of recipients) this.#appended(user)
  }

  #appended(user: string): void {
    for (const delivery of this.#deliveries.get(user)?.values() ?? []) delivery.appended()
  }

  /** Appends messages of one sender that the server itself posts, and delivers them. Resolves as `MailboxStore.append`. */
  async postOwn(posts: readonly PostedMessage[]): Appended {
    const outcomes = await this.#append(posts, undefined)
    for (const [at, post] of posts.entries()) if (!outcomes[at]) this.stored(post)
    return outcomes
  }

  /** As `MailboxStore.full`. */
  full(posts: readonly PostedMessage[]): readonly string[] {
    return this.#context.mailboxes.full(posts, this.#bounds)
  }

  #append(posts: readonly PostedMessage[], by: SessionLink | undefined): Appended {
    const { mailboxes, platform, pending } = this.#context
    // The clock of a misconfigured machine may be before 1970.
    const sentAt = Math.max(0, platform.clock.wallTime())
    const storedAt = this.#age.now()
    const messages = posts.map(({ sender, id, content, recipients, receipt, timeToLive }) => ({
      sender,
      id,
      content,
      recipients,
      receipt,
      sentAt,
      storedAt,
      expiresAt: timeToLive === undefined ? undefined : Math.min(sentAt + timeToLive, mostMs),
    }))
    for (const { expiresAt } of messages) if (expiresAt !== undefined) this.#expireBy(expiresAt)
    const failed = (error: unknown) => messages.map(() => OspError.from(error))
    const appended = mailboxes.append(messages, this.#bounds, by).catch(failed)
    pending.track(appended)
    return appended
  }

  /** Makes the device of a link known. Rejects with OspError `too-many-devices`. */
  async openDevice({ user, device }: ListeningLink): Promise<void> {
    const { devices } = this.#context.mailboxes
    if (devices) await devices.open(user, [device], this.#age.now(), this.#context.limits.devicesPerUser)
    else if (device !== '')
      throw new OspError('too-many-devices', 'this server does not support devices; connect without a device name')
  }

  /** Resolves with the known devices of a user. `seenAt` is in ms since 1970. */
  async listDevices(user: string): Promise<readonly ListedDevice[]> {
    const { mailboxes, platform } = this.#context
    const listed = (await mailboxes.devices?.list(user)) ?? []
    const ageMs = (seenAt: number) => Math.max(0, this.#age.now() - seenAt)
    const wallTime = platform.clock.wallTime()
    return listed.map((device) => ({ ...device, seenAt: Math.max(0, Math.floor(wallTime - ageMs(device.seenAt))) }))
  }

  /** Forgets a device that does not listen. Resolves with whether it was known. */
  async removeDevice(device: UserDevice): Promise<boolean> {
    const { devices } = this.#context.mailboxes
    const removing = devices?.remove(device.user, device.device)
    if (removing) this.#context.pending.track(removing)
    const isRemoved = (await removing) ?? false
    if (isRemoved) this.#forgotten(device)
    return isRemoved
  }

  #forgotten(device: UserDevice): void {
    this.#context.log({ level: 'info', event: 'device-forgotten', ...device })
    this.#attempts.delete(deviceKey(device))
    this.#space.freed(device.user)
  }

  /** Starts to deliver the mailbox of the caller's user to the caller. */
  deliver(caller: Connection, recipient: Recipient): void {
    const { user } = caller
    const { link } = recipient
    this.stop(link)
    const attempts = this.#attempts.get(deviceKey(link)) ?? new Map<number, number>()
    const delivery = new Delivery(caller, attempts, recipient, this.#context)
    const deliveries = this.#deliveries.get(user) ?? new Map<string, Delivery>()
    this.#deliveries.set(user, deliveries.set(link.device, delivery))
    // A device without a name becomes known when another device is.
    if (deliveries.size > 1) this.#context.pending.track(this.#refreshDevices(user))
    this.#space.freed(user)
    this.#context.scheduler.schedule(delivery)
  }

  /**
   * Resolves with a page of the waiting messages of a mailbox or, with `aside`, of those that were set aside. It is empty after
   * the last message.
   */
  async list(mailbox: string, aside: boolean, afterSeq: number, most: number): Promise<readonly StoredMessage[]> {
    const { mailboxes, platform } = this.#context
    for (let after = afterSeq; ; ) {
      const page = await mailboxes.list(mailbox, { aside, afterSeq: after, most, mostBytes: fixed.listedBytes })
      const now = platform.clock.wallTime()
      const messages = page.filter(({ expiresAt = Number.POSITIVE_INFINITY }) => expiresAt > now)
      const last = page.at(-1)
      if (!last || messages.length > 0) return messages
      after = last.seq
    }
  }

  /** Returns messages that were set aside to the mailbox of a user, and delivers them. */
  async return(user: string, seqs: readonly number[]): Promise<void> {
    await this.#changed(this.#context.mailboxes.return(user, seqs, this.#age.now()))
    this.#appended(user)
  }

  /** Removes messages, waiting or set aside, from a mailbox. They count as rejected. */
  async remove(mailbox: string, seqs: readonly number[]): Promise<void> {
    await this.#changed(this.#context.mailboxes.remove(mailbox, seqs, false, { state: 'rejected' }))
    this.#space.freed(mailbox)
  }

  async #changed(changing: Promise<void>): Promise<void> {
    this.#context.pending.track(changing)
    await changing
  }

  /** Handles DELIVER_MSG_NTF of the client of a device. */
  handled({ user, device }: ListeningLink, notice: WireMessage<'DeliverMsgNtf'>): void {
    this.#deliveries.get(user)?.get(device)?.handled(notice)
  }

  /** Stops the delivery to a device. Unanswered messages stay in the mailbox. Returns the highest seq that was sent, or 0. */
  stop(link: Pick<ListeningLink, 'user' | 'device'>): number {
    const { user, device } = link
    const deliveries = this.#deliveries.get(user)
    const delivery = deliveries?.get(device)
    if (!deliveries || !delivery) return 0
    deliveries.delete(device)
    if (deliveries.size === 0) {
      this.#deliveries.delete(user)
      this.#space.stopped(user)
      // The delivery itself has removed the expired messages until now.
      if (this.#hasTimesToLive) this.#expireBy(0)
    }
    this.#attempts.set(deviceKey(link), delivery.end())
    return delivery.lastSent
  }

  get gauges(): Pick<ServerGauges, 'deliveryBytes' | 'rememberedAttemptsPerUser'> {
    let [deliveryBytes, rememberedAttemptsPerUser] = [0, 0]
    for (const deliveries of this.#deliveries.values())
      for (const { bufferedBytes } of deliveries.values()) deliveryBytes += bufferedBytes
    for (const { size } of this.#attempts.values()) {
      rememberedAttemptsPerUser = Math.max(rememberedAttemptsPerUser, size)
    }
    return { deliveryBytes, rememberedAttemptsPerUser }
  }

  /** Stops all deliveries. Resolves when no work on the mailboxes is pending. */
  async close(): Promise<void> {
    this.#alarm.stop()
    this.#overdueAlarm.stop()
    for (const watching of this.#watching) watching?.[Symbol.dispose]()
    this.#isOpen = false
    for (const [user, deliveries] of [...this.#deliveries])
      for (const device of [...deliveries.keys()]) this.stop({ user, device })
    this.#space.close()
    const { mailboxes, pending } = this.#context
    // Removals that wait for another change become durable with this empty one.
    pending.track(mailboxes.remove('', []))
    await pending.settled()
  }

  async #expire(): Promise<void> {
    const { mailboxes, limits, platform, log } = this.#context
    const now = this.#age.now()
    try {
      const { messageAgeMs, messageIdMs } = limits
      const expired = await mailboxes.expire(now, now - messageAgeMs, now - messageIdMs, platform.clock.wallTime())
      for (const { user, messages } of expired) log({ level: 'warn', event: 'messages-expired', user, messages })
      const waiting = new Set((await mailboxes.levels()).map(({ user }) => user))
      for (const key of this.#attempts.keys())
        if (!waiting.has(key.slice(0, key.indexOf('/')))) this.#attempts.delete(key)
      await this.#forgetDevices(now)
    } catch (error) {
      log({ level: 'error', event: 'mailboxes-not-swept', text: OspError.from(error).message })
    }
    if (this.#isOpen) this.#alarm.by(platform.clock.now() + expireMs)
  }

  /** Lets the messages expire whose time to live ends at `wallTime`, at that time or soon after it. */
  #expireBy(wallTime: number): void {
    const { mailboxes, platform } = this.#context
    if (!this.#isOpen || !mailboxes.expireOverdue) return
    this.#hasTimesToLive = true
    const waitMs = Math.max(overdueMs, wallTime - platform.clock.wallTime())
    // The wall clock can be changed meanwhile.
    this.#overdueAlarm.by(platform.clock.now() + Math.min(waitMs, expireMs))
  }

  /** Removes the expired messages of users who do not listen: the delivery to a listening user does this itself. */
  async #expireOverdue(): Promise<void> {
    const { mailboxes, platform, log } = this.#context
    const isFree = (user: string) => !this.#deliveries.has(user)
    try {
      const outcome = await mailboxes.expireOverdue?.(platform.clock.wallTime(), isFree)
      for (const { user, messages } of outcome?.expired ?? []) {
        log({ level: 'warn', event: 'messages-expired', user, messages })
        this.#space.freed(user)
      }
      if (outcome?.nextAt !== undefined) this.#expireBy(outcome.nextAt)
    } catch (error) {
      log({ level: 'error', event: 'mailboxes-not-swept', text: OspError.from(error).message })
    }
  }

  /** Records that the devices of a user are listening now. */
  async #refreshDevices(user: string): Promise<void> {
    const devices = this.#deliveries.get(user)?.keys() ?? []
    const { mailboxes, limits } = this.#context
    await mailboxes.devices?.open(user, [...devices], this.#age.now(), limits.devicesPerUser)
  }

  /** Forgets the devices that have not listened for `deviceAgeMs`. */
  async #forgetDevices(now: number): Promise<void> {
    const { mailboxes, limits } = this.#context
    if (!mailboxes.devices) return
    await Promise.all(Array.from(this.#deliveries.keys(), (user) => this.#refreshDevices(user)))
    for (const device of await mailboxes.devices.forget(now - limits.deviceAgeMs - fixed.deviceSeenMs))
      this.#forgotten(device)
  }
}
