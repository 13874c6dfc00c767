import { BoundedMap } from '../../core/boundedMap.ts'
import { fixed, MiB } from '../../limits.ts'
import { deviceKey, receiptMailbox, receiptOwner } from '../../names.ts'
import type { ListeningLink } from '../../ports/links.ts'
import type {
  Damage,
  Expired,
  MailboxDevices,
  MailboxLevel,
  MailboxPage,
  MailboxStore,
  Overdue,
  StoredMessage,
  UserDevice,
} from '../../ports/mailboxes.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { ClusterLinks } from './clusterLinks.ts'
import type { ClusterMember, Polled } from './clusterMember.ts'
import { MailBatcher } from './mailBatcher.ts'
import type { LeavingMessages, MailSteps, PostResult, ReadPage } from './mailSteps.ts'
import type { Notice } from './steps.ts'
import { WakeUps } from './wakeUps.ts'

/** The maximum number of messages, and of ids, that expire in one step. */
const expirePart = 5_000
/** The maximum number of mailboxes, and of bytes of content, that are read in one step. */
const mostRead = { mailboxes: 200, bytes: 8 * MiB }
/** The maximum number of mailboxes that `levels` returns. */
const mostLevels = 10_000
/** The time for which a mailbox that has refused a message counts as full. */
const fullMs = 1_000

/** A page of a mailbox to read. */
interface Page extends ReadPage {
  readonly most: number
  readonly mostBytes: number
  readonly found: Deferred<FoundMessages>
}

interface FoundMessages {
  readonly messages: readonly StoredMessage[]
  /** The seq of the last message that was read, even if its removal was requested. */
  readonly lastSeq: number | undefined
}

/** The mailboxes of a shared store, as one of its servers accesses them. */
export class ClusterMailboxes implements MailboxStore {
  readonly #member: ClusterMember
  readonly #registrations: Pick<ClusterLinks, 'epochOf'>
  readonly #batcher: MailBatcher
  readonly #wakeUps: WakeUps
  /** The times until which mailboxes that have refused a message count as full. */
  readonly #full = new BoundedMap<string, number>(fixed.rememberedUsers)
  /**
   * Messages whose removal was requested: by user, or by device if only this device has answered them (`leavingKey`). No read for
   * this user or device returns them, not even one that began before the removal.
   */
  readonly #leaving = new Map<string, Set<number>>()
  #pages: Page[] = []
  #reading: Promise<void> | undefined
  /** The latest step that reads pages. */
  #readStep: Promise<unknown> | undefined
  readonly #watchers = new Set<(user: string) => void>()
  readonly #receiptWatchers = new Set<(user: string) => void>()
  readonly #overdueWatchers = new Set<(wallTime: number) => void>()
  /** Whether this server removes the messages whose time to live has expired. */
  #leads = false
  /** The highest seq that was reported to the watchers, for each mailbox to which a link of this server listens. */
  #known: ReadonlyMap<string, number> = new Map()
  /** Whether the store has ever contained known devices. */
  #hasDevices = false
  readonly devices: MailboxDevices = {
    open: async (...given) => this.#openDevices(...given),
    forget: async (before) => this.#forgetDevices(before),
    remove: async (user, device) => this.#removeDevice({ user, device }),
    list: async (user) => {
      this.#member.checkOpen()
      return this.#member.run(({ mail }) => mail.listDevices(user))
    },
  }

  /** `registrations` knows the registrations of this server. */
  constructor(member: ClusterMember, registrations: Pick<ClusterLinks, 'epochOf'>) {
    this.#member = member
    this.#registrations = registrations
    this.#batcher = new MailBatcher(
      member,
      (result) => this.#posted(result),
      (users) => this.#settled(users),
    )
    this.#wakeUps = new WakeUps(member)
    member.listen({ heard: (notice) => this.#heard(notice), polled: (found) => this.#polled(found) })
  }

  /** Resolves when earlier changes have ended. */
  close(): Promise<void> {
    return this.#batcher.idle()
  }

  async append(...[messages, bounds, by]: Parameters<MailboxStore['append']>): ReturnType<MailboxStore['append']> {
    this.#member.checkOpen()
    for (const { storedAt } of messages) this.#member.reached(storedAt)
    const { server } = this.#member
    const link = by && { server, link: by.node, user: by.user, session: by.session }
    return this.#batcher.post(messages, bounds, link)
  }

  /**
   * Returns the recipients whose mailbox has refused a message within the last second and has had no message removed since then.
   */
  full(messages: Parameters<MailboxStore['full']>[0]): readonly string[] {
    if (this.#full.size === 0) return []
    const now = this.#member.platform.clock.now()
    const users = new Set(messages.flatMap(({ recipients }) => recipients))
    return Array.from(users).filter((user) => (this.#full.get(user) ?? 0) > now)
  }

  async read(
    user: string,
    afterSeq: number,
    most: number,
    mostBytes: number,
    reader?: ListeningLink,
  ): Promise<readonly StoredMessage[]> {
    this.#member.checkOpen()
    const epoch = reader && this.#registrations.epochOf(reader)
    if (most < 1 || (reader && epoch === undefined)) return []
    for (let after = afterSeq; ; ) {
      const page: Page = { user, afterSeq: after, most, mostBytes, device: reader?.device, epoch, found: deferred() }
      this.#pages.push(page)
      this.#reading ??= this.#read()
      const { messages, lastSeq } = await page.found.promise
      if (lastSeq === undefined || messages.length > 0) return messages
      after = lastSeq
    }
  }

  async remove(...[user, seqs, mayWait, how]: Parameters<MailboxStore['remove']>): Promise<void> {
    await this.#change('remove', { user, seqs, how }, mayWait)
    this.#full.delete(user)
  }

  setAside(...[user, seqs, results, device]: Parameters<MailboxStore['setAside']>): Promise<void> {
    return this.#change('setAside', { user, seqs, how: { state: 'rejected', results, device } })
  }

  async list(user: string, page: MailboxPage): Promise<readonly StoredMessage[]> {
    this.#member.checkOpen()
    for (let after = page.afterSeq; ; ) {
      const listed = await this.#member.run(({ mail }) => mail.list(user, { ...page, afterSeq: after }))
      const { messages, lastSeq } = this.#remaining({ user }, listed)
      if (lastSeq === undefined || messages.length > 0) return messages
      after = lastSeq
    }
  }

  return(user: string, seqs: readonly number[], storedAt: number): Promise<void> {
    this.#member.checkOpen()
    this.#member.reached(storedAt)
    const { server } = this.#member
    return this.#batcher.run(() => this.#member.run(({ mail }) => mail.return(server, user, seqs, storedAt)))
  }

  /** Expires messages by the slowest age clock of the live servers, so that one fast clock does not remove messages early. */
  async expire(now: number, messagesBefore: number, idsBefore: number, wallTime?: number): Promise<readonly Expired[]> {
    this.#member.checkOpen()
    this.#member.reached(now)
    const expired = new Map<string, number>()
    await this.#batcher.run(async () => {
      await this.#member.keepAge()
      const { server } = this.#member
      const lag = await this.#member.ageLag(now)
      const before = { messages: messagesBefore - lag, ids: idsBefore - lag }
      for (let isDone = false; !isDone; ) {
        const expire = (mail: MailSteps) => mail.expire(server, before.messages, before.ids, expirePart, wallTime)
        const part = await this.#member.run(({ mail }) => expire(mail))
        for (const { user, messages } of part.expired) expired.set(user, (expired.get(user) ?? 0) + messages)
        isDone = part.isDone
        this.#settled(part.receipts)
      }
    })
    return Array.from(expired, ([user, messages]) => ({ user, messages }))
  }

  async expireOverdue(wallTime: number): Promise<Overdue> {
    this.#member.checkOpen()
    if (!this.#leads) return { expired: [], nextAt: undefined }
    const { server } = this.#member
    const expired: Expired[] = []
    await this.#batcher.run(async () => {
      const part = await this.#member.run(({ mail }) => mail.expireOverdue(server, wallTime, expirePart))
      expired.push(...part.expired)
      this.#settled(part.receipts)
    })
    // The next poll finds the time.
    return { expired, nextAt: undefined }
  }

  /** The device without a name is known only together with others. `MailSteps.listen` makes it known. */
  async #openDevices(...[user, devices, now, most]: Parameters<MailboxDevices['open']>): Promise<void> {
    this.#member.checkOpen()
    const isNamed = devices.some((name) => name !== '')
    if (!isNamed && !this.#hasDevices) return
    this.#member.reached(now)
    await this.#batcher.run(() => this.#member.run(({ mail }) => mail.openDevices(user, devices, now, most)))
    this.#hasDevices = true
  }

  /** Forgets devices according to the slowest age clock of the live servers. */
  async #forgetDevices(before: number): Promise<readonly UserDevice[]> {
    this.#member.checkOpen()
    let devices: readonly UserDevice[] = []
    await this.#batcher.run(async () => {
      const { server } = this.#member
      const lag = await this.#member.ageLag()
      const forget = (mail: MailSteps) => mail.forgetDevices(server, before - lag)
      const { forgotten, receipts } = await this.#member.run(({ mail }) => forget(mail))
      this.#settled(receipts)
      devices = forgotten
    })
    return devices
  }

  async #removeDevice(device: UserDevice): Promise<boolean> {
    this.#member.checkOpen()
    let isKnown = false
    await this.#batcher.run(async () => {
      const { server } = this.#member
      const { isRemoved, receipts } = await this.#member.run(({ mail }) => mail.removeDevice(server, device))
      this.#settled(receipts)
      isKnown = isRemoved
    })
    return isKnown
  }

  async lastSeq(): Promise<number> {
    this.#member.checkOpen()
    return this.#member.run(({ mail }) => mail.lastSeq())
  }

  async lastTime(): Promise<number> {
    this.#member.checkOpen()
    return this.#member.run((steps) => steps.lastTime())
  }

  /** Returns the fullest mailboxes, up to 10,000. */
  async levels(): Promise<readonly MailboxLevel[]> {
    this.#member.checkOpen()
    const levels = await this.#member.run(({ mail }) => mail.levels(mostLevels))
    return levels.toSorted((a, b) => (a.user < b.user ? -1 : 1))
  }

  attend(user: string): Promise<boolean> {
    this.#member.checkOpen()
    return this.#member.runAs(({ mail }, server) => mail.attend(server, user))
  }

  async damages(): Promise<readonly Damage[]> {
    return []
  }

  /**
   * Calls `appended` after another server has appended a message to a mailbox to which a link of this server listens, at most
   * about a second later. It may also be called without a new message. `overdue` is called at one server only.
   */
  watch(appended: (user: string) => void, overdue?: (wallTime: number) => void): Disposable {
    this.#watchers.add(appended)
    if (overdue) this.#overdueWatchers.add(overdue)
    const end = () => {
      this.#watchers.delete(appended)
      if (overdue) this.#overdueWatchers.delete(overdue)
    }
    return { [Symbol.dispose]: end }
  }

  watchReceipts(appended: (user: string) => void): Disposable {
    this.#receiptWatchers.add(appended)
    return { [Symbol.dispose]: () => void this.#receiptWatchers.delete(appended) }
  }

  /** Reports new receipts of these users to the watchers of all servers. */
  #settled(users: readonly string[]): void {
    if (users.length === 0) return
    for (const user of users) this.#appended(receiptMailbox(user))
    this.#wakeUps.add(users.map((user) => ({ server: 'all', user: receiptMailbox(user) })))
  }

  async #change(kind: 'remove' | 'setAside', leave: LeavingMessages, mayWait?: boolean): Promise<void> {
    const { user, seqs, how } = leave
    this.#member.checkOpen()
    const key = leavingKey(user, how?.device)
    const leaving = this.#leaving.get(key) ?? new Set()
    this.#leaving.set(key, leaving)
    for (const seq of seqs) leaving.add(seq)
    try {
      await this.#batcher.change(kind, leave, mayWait)
    } finally {
      // A read that began earlier may still find messages that were removed since.
      const forget = () => this.#forget(key, seqs)
      if (this.#readStep) void this.#readStep.then(forget, forget)
      else forget()
    }
  }

  #forget(key: string, seqs: readonly number[]): void {
    const leaving = this.#leaving.get(key)
    for (const seq of seqs) leaving?.delete(seq)
    if (leaving?.size === 0) this.#leaving.delete(key)
  }

  /** Reads the pending pages. Pages with the same limits are read in one step. */
  async #read(): Promise<void> {
    await Promise.resolve()
    for (let [first] = this.#pages; first; [first] = this.#pages) {
      const { most, mostBytes } = first
      const mostPages = Math.max(1, Math.min(mostRead.mailboxes, Math.floor(mostRead.bytes / Math.max(1, mostBytes))))
      const isAlike = (page: Page) => page.most === most && page.mostBytes === mostBytes
      const pages = this.#pages.filter(isAlike).slice(0, mostPages)
      const taken = new Set(pages)
      this.#pages = this.#pages.filter((page) => !taken.has(page))
      try {
        const step = this.#member.run(({ mail }) => mail.read(pages, most, mostBytes))
        this.#readStep = step
        const found = await step
        for (const [at, page] of pages.entries()) page.found.resolve(this.#remaining(page, found[at] ?? []))
      } catch (error) {
        for (const page of pages) page.found.reject(error)
      }
    }
    this.#readStep = undefined
    this.#reading = undefined
  }

  /** Returns the messages whose removal was not requested. */
  #remaining({ user, device }: Pick<ReadPage, 'user' | 'device'>, found: readonly StoredMessage[]): FoundMessages {
    const keys = new Set([leavingKey(user), leavingKey(user, device)])
    const leaving = Array.from(keys).flatMap((key) => this.#leaving.get(key) ?? [])
    const messages = leaving.length > 0 ? found.filter(({ seq }) => !leaving.some((seqs) => seqs.has(seq))) : found
    return { messages, lastSeq: found.at(-1)?.seq }
  }

  #posted({ outcomes, wakes }: PostResult): void {
    this.#wakeUps.add(wakes)
    for (const refusal of outcomes) {
      if (refusal?.code !== 'mailbox-full') continue
      const untilMs = this.#member.platform.clock.now() + fullMs
      for (const user of refusal.recipients ?? []) this.#full.set(user, untilMs)
    }
  }

  #heard(notice: Notice): void {
    if (notice.kind !== 'mail') return
    for (const user of notice.users) this.#appended(user)
  }

  #polled({ listened, nextExpiry, hasDevices, servers }: Polled): void {
    this.#leads = this.#member.leads(servers)
    if (nextExpiry !== undefined && this.#leads) for (const watcher of this.#overdueWatchers) watcher(nextExpiry)
    this.#hasDevices ||= hasDevices
    const former = this.#known
    this.#known = new Map(listened.map(({ user, lastSeq }) => [user, lastSeq]))
    for (const { user, lastSeq } of listened) if (lastSeq > (former.get(user) ?? 0)) this.#appended(user)
  }

  #appended(mailbox: string): void {
    const owner = receiptOwner(mailbox)
    for (const watcher of owner === undefined ? this.#watchers : this.#receiptWatchers) watcher(owner ?? mailbox)
  }
}

const leavingKey = (user: string, device?: string) => (device === undefined ? user : deviceKey({ user, device }))
