import { BoundedMap } from '../../core/boundedMap.ts'
import { OspError } from '../../errors.ts'
import { fixed, MiB } from '../../limits.ts'
import { deviceKey } from '../../names.ts'
import type {
  AddressedMessage,
  MailboxBounds,
  MailboxLevel,
  MailboxPage,
  StoredMessage,
  UserDevice,
} from '../../ports/mailboxes.ts'
import type { Platform } from '../../ports/platform.ts'
import { hex } from '../../runtime/hex.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { CopiedDevices, CopiedId, CopiedMessage } from '../../storage/mailboxes/copies.ts'
import { Mailboxes } from '../../storage/mailboxes/mailboxes.ts'
import { writeTime } from '../../storage/mailboxes/records.ts'
import type {
  ClusterListeningLink,
  ListenResult,
  MailSteps,
  PolledLinks,
  PostRefusal,
  PostResult,
  ReadPage,
  Wake,
} from '../cluster/mailSteps.ts'
import { devicesRefused } from '../cluster/mailSteps.ts'
import type { ClusterSessionLink } from '../cluster/steps.ts'
import { MemoryJournal } from './memoryJournal.ts'
import { olderVersion } from './olderSteps.ts'
import type { SharedServers } from './sharedServers.ts'
import type { SharedSessions } from './sharedSessions.ts'

type Registration = ClusterSessionLink & { readonly epoch: number }

/** The registration of a device, or of the programs of a user without a device. The messages are in `Mailboxes`. */
interface Box {
  epoch: number
  registration: Registration | undefined
  /** Messages up to this seq may have been handed out before. */
  handed: number
  /** The latest message of the user. Only set in the box without a device. */
  lastSeq: number
  superseded: readonly string[]
}

/** The mailboxes of a shared store in memory: the rules of `Mailboxes`, and the registrations of all servers. */
export class SharedMail implements MailSteps {
  readonly #servers: SharedServers
  readonly #sessions: SharedSessions
  #mailboxes = new Mailboxes()
  #journal = new MemoryJournal(16 * MiB)
  #platform: Platform | undefined
  /** By user and device (`boxKey`). */
  readonly #boxes = new Map<string, Box>()
  /** The number of the latest registration. */
  #epoch = 0
  /** By sender and id, the number of the latest link over which a message was refused that an earlier link may still send. */
  readonly #refused = new Map<string, BoundedMap<string, number>>()
  /** The times at which messages were stored, rising, to expire them in parts. */
  #times: number[] = []
  /** The number of messages that the current step has stored. */
  #added = 0
  /** Runs one step after another. */
  readonly #turns = new Mutex()

  constructor(servers: SharedServers, sessions: SharedSessions) {
    this.#servers = servers
    this.#sessions = sessions
  }

  async open(platform: Platform): Promise<void> {
    this.#platform = platform
    await this.#mailboxes.open(this.#journal, platform)
  }

  /** Raises seqs above this one. */
  async raise(seq: number): Promise<void> {
    await this.#turns.run(async () => {
      const now = await this.#mailboxes.lastTime()
      await this.#journal.append([writeTime({ now, lastSeq: seq, messagesBefore: 0, idsBefore: 0 })])
      await this.#reopen(this.#journal)
    })
  }

  /** Returns a function that restores the current state. No step may be running. */
  saved(): () => Promise<void> {
    const journal = new MemoryJournal(16 * MiB, {}, this.#journal)
    const boxes = Array.from(this.#boxes, ([user, box]) => [user, { ...box }] as const)
    const times = [...this.#times]
    return () =>
      this.#turns.run(async () => {
        this.#boxes.clear()
        for (const [user, box] of boxes) this.#boxes.set(user, box)
        this.#times = times
        this.#refused.clear()
        await this.#reopen(journal)
      })
  }

  async #reopen(journal: MemoryJournal): Promise<void> {
    if (!this.#platform) throw new OspError('closed', 'the shared store is closed; open it first')
    this.#journal = journal
    this.#mailboxes = new Mailboxes()
    await this.#mailboxes.open(journal, this.#platform)
  }

  async post(
    server: number,
    messages: readonly AddressedMessage[],
    bounds: MailboxBounds,
    by: readonly (ClusterSessionLink | undefined)[] = [],
  ): Promise<PostResult> {
    return this.#turns.run(async () => {
      // All at once: no step that comes later reads mailboxes before this one has ended.
      const opened = by.map((link) => link && (this.#sessions.openedOf(link) ?? 0))
      const outcomes: (PostRefusal | undefined)[] = []
      this.#added = 0
      for (const [at, message] of messages.entries()) outcomes.push(await this.#postBy(opened[at], message, bounds))
      const stored = this.#servers.stored(server, this.#added)
      return { outcomes, stored, wakes: this.#wakesFor(server, messages, outcomes) }
    })
  }

  read(from: readonly ReadPage[], most: number, mostBytes: number): Promise<readonly (readonly StoredMessage[])[]> {
    return this.#turns.run(async () => {
      const found: (readonly StoredMessage[])[] = []
      for (const { user, afterSeq, device, epoch } of from) {
        const registration = this.#boxes.get(boxKey(user, device))?.registration
        const isReplaced = epoch !== undefined && registration?.epoch !== epoch
        const reader = device === undefined ? undefined : { device, user, node: 0, session: '', epoch: 0 }
        found.push(isReplaced ? [] : await this.#mailboxes.read(user, afterSeq, most, mostBytes, reader))
      }
      return found
    })
  }

  remove(_server: number, messages: Parameters<MailSteps['remove']>[1]): Promise<readonly string[]> {
    return this.#settling(async () => {
      for (const { user, seqs, how } of messages) await this.#mailboxes.remove(user, seqs, false, how)
    })
  }

  setAside(_server: number, messages: Parameters<MailSteps['setAside']>[1]): Promise<readonly string[]> {
    return this.#settling(async () => {
      for (const { user, seqs, how } of messages) await this.#mailboxes.setAside(user, seqs, how?.results, how?.device)
    })
  }

  /** Runs a step. Resolves with the users with new receipts. */
  #settling(step: () => Promise<void>): Promise<readonly string[]> {
    return this.#turns.run(async () => {
      const users = new Set<string>()
      using _ = this.#mailboxes.watchReceipts((user) => users.add(user))
      await step()
      return [...users]
    })
  }

  list(user: string, page: MailboxPage): Promise<readonly StoredMessage[]> {
    return this.#turns.run(() => this.#mailboxes.list(user, page))
  }

  return(_server: number, user: string, seqs: readonly number[], storedAt: number): Promise<void> {
    return this.#turns.run(async () => {
      const before = await this.#mailboxes.lastSeq()
      await this.#mailboxes.return(user, seqs, storedAt)
      const lastSeq = await this.#mailboxes.lastSeq()
      if (lastSeq === before) return
      this.#boxOf(user).lastSeq = lastSeq
      this.#servers.reached(storedAt)
      this.#storedAt(storedAt, lastSeq - before)
    })
  }

  expire(
    ...[_server, messagesBefore, idsBefore, most, wallTime]: Parameters<MailSteps['expire']>
  ): ReturnType<MailSteps['expire']> {
    return this.#turns.run(async () => {
      const receipts = new Set<string>()
      using _ = this.#mailboxes.watchReceipts((user) => receipts.add(user))
      const before = Math.min(messagesBefore, partBefore(this.#times, most))
      const latest = Math.max(messagesBefore, idsBefore)
      const idsToo = before < messagesBefore ? Math.min(before, idsBefore) : idsBefore
      const expired = await this.#mailboxes.expire(await this.#servers.lastTime(), before, idsToo, wallTime)
      const isDone = before === messagesBefore
      this.#times = this.#times.filter((time) => time >= (isDone ? latest : before))
      return { expired, receipts: [...receipts], isDone }
    })
  }

  lastSeq(): Promise<number> {
    return this.#turns.run(() => this.#mailboxes.lastSeq())
  }

  async levels(most: number): Promise<readonly MailboxLevel[]> {
    const levels = await this.#turns.run(() => this.#mailboxes.levels())
    return levels.toSorted((a, b) => b.messages - a.messages).slice(0, most)
  }

  listen(link: ClusterListeningLink): Promise<ListenResult> {
    return this.#turns.run(async () => {
      if (this.#servers.isDead(link.server)) throw new OspError('link-lost', 'this server was declared dead')
      this.#sessions.checkNotReplaced(link)
      const { user, device } = link
      const box = this.#boxOf(user, device)
      const former = box.registration
      if (former?.server === link.server && former.link === link.link) return { epoch: box.epoch, handed: box.handed }
      if (box.superseded.includes(link.session)) {
        throw new OspError('superseded', `another program of ${user} receives the messages`)
      }
      await this.#openAgain(user, device)
      box.epoch = ++this.#epoch
      box.registration = { ...link, epoch: box.epoch }
      if (!former) return { epoch: box.epoch, handed: box.handed }
      box.handed = Math.max(box.handed, this.#boxOf(user).lastSeq)
      const isSuperseded = former.session !== link.session && this.#servers.isLiving(former.server)
      if (isSuperseded) box.superseded = [...box.superseded, former.session].slice(-fixed.supersededSessions)
      const replaced = { server: former.server, link: former.link }
      return { epoch: box.epoch, handed: box.handed, former: replaced }
    })
  }

  /** Makes a device that listens known if it was removed meanwhile, and the device without a name if others are known. */
  async #openAgain(user: string, device: string): Promise<void> {
    const known = this.#mailboxes.deviceNames(user)
    const isDue = device !== '' || known.length > 0
    if (isDue && !known.includes(device)) await this.#openDevices(user, [device])
  }

  unlisten({ user, device }: UserDevice, epoch: number, handed: number): Promise<void> {
    return this.#turns.run(() => {
      const box = this.#boxes.get(boxKey(user, device))
      if (box?.registration?.epoch !== epoch) return
      box.registration = undefined
      box.handed = Math.max(box.handed, handed)
    })
  }

  openDevices(user: string, devices: readonly string[], now: number, most: number): Promise<void> {
    return this.#turns.run(async () => {
      const known = this.#mailboxes.deviceNames(user)
      const hasNew = devices.some((name) => name !== '' && !known.includes(name))
      if (hasNew && this.#servers.hasVersion(olderVersion)) throw devicesRefused()
      const listening = this.#boxes.get(user)?.registration?.link ?? 0
      await this.#openDevices(user, listening === 0 ? devices : [...new Set([...devices, ''])], now, most)
    })
  }

  async #openDevices(
    user: string,
    devices: readonly string[],
    now?: number,
    most = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    await this.#mailboxes.devices.open(user, devices, now ?? (await this.#servers.lastTime()), most)
  }

  forgetDevices(_server: number, before: number): ReturnType<MailSteps['forgetDevices']> {
    return this.#turns.run(async () => {
      const receipts = new Set<string>()
      using _ = this.#mailboxes.watchReceipts((user) => receipts.add(user))
      const forgotten = await this.#mailboxes.devices.forget(before)
      this.#forgotten(forgotten)
      return { forgotten, receipts: [...receipts] }
    })
  }

  removeDevice(_server: number, device: UserDevice): ReturnType<MailSteps['removeDevice']> {
    return this.#turns.run(async () => {
      const receipts = new Set<string>()
      using _ = this.#mailboxes.watchReceipts((user) => receipts.add(user))
      if (this.#isListening(device)) throw new OspError('device-listening')
      const isRemoved = await this.#mailboxes.devices.remove(device.user, device.device)
      this.#forgotten([device])
      return { isRemoved, receipts: [...receipts] }
    })
  }

  listDevices(user: string): ReturnType<MailSteps['listDevices']> {
    return this.#turns.run(async () => {
      const listed = await this.#mailboxes.devices.list(user)
      return listed.map((device) => ({ ...device, isListening: this.#isListening({ user, device: device.name }) }))
    })
  }

  #isListening({ user, device }: UserDevice): boolean {
    return (this.#boxes.get(boxKey(user, device))?.registration?.link ?? 0) !== 0
  }

  /** Removes the boxes of devices. The box of the user stays. */
  #forgotten(devices: readonly UserDevice[]): void {
    for (const device of devices)
      if (device.device !== '' && !this.#isListening(device)) this.#boxes.delete(deviceKey(device))
  }

  attend(server: number, user: string): Promise<boolean> {
    return this.#turns.run(async () => {
      const box = this.#boxOf(user)
      const reader = box.registration?.server
      if (reader === undefined || this.#servers.isDead(reader)) {
        box.epoch = ++this.#epoch
        box.registration = { user, server, link: 0, session: '', epoch: box.epoch }
      }
      return box.registration?.server === server && !this.#servers.isDead(server)
    })
  }

  poll(server: number, links: readonly number[]): Promise<PolledLinks> {
    return this.#turns.run(() => {
      const listened = Array.from(this.#boxes).flatMap(([key, { registration }]) => {
        if (registration?.server !== server) return []
        const [user = '', device = ''] = key.split('/')
        const lastSeq = this.#boxes.get(user)?.lastSeq ?? 0
        return [{ user, device, link: registration.link, epoch: registration.epoch, lastSeq }]
      })
      const present = this.#sessions.linksOf(server)
      const replaced = links.filter((link) => !present.has(link))
      const nextExpiry = this.#mailboxes.nextExpiry((user) => this.#isFree(user))
      const hasDevices = [...this.#mailboxes.deviceCopies()].length > 0
      return { listened, replaced, hasDevices, ...(nextExpiry !== undefined && { nextExpiry }) }
    })
  }

  expireOverdue(_server: number, wallTime: number): ReturnType<MailSteps['expireOverdue']> {
    return this.#turns.run(async () => {
      const receipts = new Set<string>()
      using _ = this.#mailboxes.watchReceipts((user) => receipts.add(user))
      const { expired } = await this.#mailboxes.expireOverdue(wallTime, (user) => this.#isFree(user))
      return { expired, receipts: [...receipts] }
    })
  }

  /** Returns whether a user listens at no server. */
  #isFree(user: string): boolean {
    return ['', ...this.#mailboxes.deviceNames(user)].every(
      (device) => this.#boxes.get(boxKey(user, device))?.registration === undefined,
    )
  }

  /** The users whose mailbox was used. */
  userNames(): readonly string[] {
    return [
      ...Array.from(this.#boxes.keys(), (key) => key.split('/')[0] ?? ''),
      ...Array.from(this.#mailboxes.idCopies(), ({ sender }) => sender),
    ]
  }

  /** Adds messages and ids of an import. Later messages get seqs after `lastSeq`. */
  addCopies(messages: readonly CopiedMessage[], ids: readonly CopiedId[], lastSeq?: number): Promise<void> {
    return this.#turns.run(async () => {
      await this.#mailboxes.addCopies(messages, ids, lastSeq)
      for (const { seq, mailboxes } of messages) {
        for (const { user } of mailboxes) {
          const box = this.#boxOf(user)
          box.lastSeq = Math.max(box.lastSeq, seq)
          box.handed = Math.max(box.handed, seq)
        }
      }
      const times = messages.flatMap(({ storedAt, mailboxes }) => mailboxes.map(() => storedAt))
      this.#times = [...this.#times, ...times, ...ids.map(({ storedAt }) => storedAt)].sort((a, b) => a - b)
    })
  }

  /** Adds the devices of a user of an import. */
  addDevices(devices: CopiedDevices): Promise<void> {
    return this.#turns.run(() => this.#mailboxes.addDevices(devices))
  }

  /** Ends the registrations at a dead server. */
  died(server: number): void {
    for (const [key, box] of this.#boxes) {
      if (box.registration?.server !== server) continue
      box.registration = undefined
      box.handed = Math.max(box.handed, this.#boxes.get(key.split('/')[0] ?? '')?.lastSeq ?? 0)
    }
  }

  async #postOne(message: AddressedMessage, bounds: MailboxBounds): Promise<PostRefusal | undefined> {
    const before = await this.#mailboxes.lastSeq()
    // Only the store knows its free space.
    const [error] = await this.#mailboxes.append([message], { ...bounds, reserveBytes: 0 })
    if (error) return refusalOf(error)
    const seq = await this.#mailboxes.lastSeq()
    // A repeated message has no new seq.
    if (seq === before) return undefined
    this.#added++
    for (const user of message.recipients) this.#boxOf(user).lastSeq = seq
    this.#servers.reached(message.storedAt)
    this.#storedAt(message.storedAt, message.recipients.length + 1)
    return undefined
  }

  #storedAt(time: number, count: number): void {
    const place = this.#times.findLastIndex((other) => other <= time) + 1
    this.#times.splice(place, 0, ...Array.from({ length: count }, () => time))
  }

  /** `opened`: the number of the link over which the message came; 0 if the link is not its session's. */
  async #postBy(
    opened: number | undefined,
    message: AddressedMessage,
    bounds: MailboxBounds,
  ): Promise<PostRefusal | undefined> {
    if (opened === undefined) return this.#postOne(message, bounds)
    const { sender } = message
    const refused = this.#refused.get(sender)
    if (opened === 0 || (refused?.get(hex(message.id)) ?? 0) > opened) return this.#refuseLost(message, bounds)
    const refusal = await this.#postOne(message, bounds)
    if (refusal && refusal.code !== 'id-reused' && this.#sessions.hasOlder(sender, opened)) {
      const ids = refused ?? new BoundedMap(fixed.refusedIds)
      this.#refused.set(sender, ids)
      ids.set(hex(message.id), opened)
    }
    return refusal
  }

  /** Refuses a message of a link that its session has replaced, unless the message is stored already. */
  async #refuseLost(message: AddressedMessage, bounds: MailboxBounds): Promise<PostRefusal | undefined> {
    // There is no place for a new id.
    const [error] = await this.#mailboxes.append([message], { ...bounds, senderIds: 0 })
    return error?.code === 'rate-limited' ? { code: 'link-lost' } : error && refusalOf(error)
  }

  #wakesFor(
    server: number,
    messages: readonly AddressedMessage[],
    outcomes: readonly (PostRefusal | undefined)[],
  ): readonly Wake[] {
    const stored = messages.filter((_, at) => !outcomes[at])
    const users = new Set(stored.flatMap(({ recipients }) => recipients))
    return Array.from(users).flatMap((user) => {
      const devices = new Set(['', ...this.#mailboxes.deviceNames(user)])
      const listeners = Array.from(devices, (device) => this.#boxes.get(boxKey(user, device))?.registration?.server)
      return Array.from(new Set(listeners), (listener) =>
        listener === undefined || listener === server ? [] : { server: listener, user },
      ).flat()
    })
  }

  #boxOf(user: string, device = ''): Box {
    const key = boxKey(user, device)
    let box = this.#boxes.get(key)
    if (!box) {
      box = { epoch: 0, registration: undefined, handed: 0, lastSeq: 0, superseded: [] }
      this.#boxes.set(key, box)
    }
    return box
  }
}

/** Returns the key of the box of a device: the name of the user for the device without a name. */
const boxKey = (user: string, device = '') => (device === '' ? user : deviceKey({ user, device }))

/** Returns a time that is later than at most `most` of these times, or more of them if many are equal. */
function partBefore(times: readonly number[], most: number): number {
  const [first = 0] = times
  const next = times[most] ?? Number.POSITIVE_INFINITY
  return first < next ? next : (times.find((time) => time > first) ?? Number.POSITIVE_INFINITY)
}

/** Returns the refusal of a message. Throws any other error. */
function refusalOf(error: OspError): PostRefusal {
  const { code, recipients } = error
  if (code === 'id-reused' || code === 'rate-limited' || code === 'too-many-receipts' || code === 'disk-full') {
    return { code }
  }
  if (code === 'mailbox-full') return { code, recipients: recipients ?? [] }
  throw error
}
