import { messageInstance } from '../../core/instance.ts'
import type { Request } from '../../core/link.ts'
import { type Instance, Pool } from '../../core/pool.ts'
import { OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import { checkDeviceName, deviceKey, receiptMailbox } from '../../names.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import type { LinkDirectory, ListeningLink } from '../../ports/links.ts'
import type { UserDevice } from '../../ports/mailboxes.ts'
import { KeyedMutex, Mutex } from '../../runtime/mutex.ts'
import { PendingWork } from '../../runtime/pendingWork.ts'
import { refusalFields } from '../../runtime/refusal.ts'
import type { Encoded, NoticeName, WireMessage } from '../../wire/message.ts'
import { deliveryStatus, listMsgFlags, registFlags } from '../../wire/protocol.ts'
import { type Connection, type ServerApp, type ServerContext, sessionLinkOf } from '../app.ts'
import { costs } from '../connections/requestCost.ts'
import type { DiskSpace } from '../files/diskSpace.ts'
import type { NoticeMail } from '../files/fileNotices.ts'
import type { ServerLog } from '../logEvents.ts'
import { publicError } from '../publicError.ts'
import { linkOf } from '../serverLog.ts'
import type { ServerGauges } from '../status.ts'
import type { Recipient } from './delivery.ts'
import { wireMessageOf } from './deliveryEncoder.ts'
import { DeliveryService, type PostedMessage } from './deliveryService.ts'
import { type CheckedPost, PostChecker } from './postChecker.ts'
import { PresenceList } from './presenceList.ts'

type State = 'IDLE' | 'RECEIVE_MSG'

/** A link that has registered. Its node holds the instance. */
interface Registration {
  readonly caller: Connection
  readonly instance: Instance<State>
  /** Its entry in the directory of links, if the client is in the presence list and receives messages. */
  listening: ListeningLink | undefined
  /** The version of the presence list that was sent with the reply to its latest REGIST_REQ. */
  listVersion: number
  /** Whether the link was notified of receipts since it last listed them. */
  isToldOfReceipts: boolean
  /** Posts the messages of this link in the order in which they arrived. */
  readonly posts: Mutex
}

/** App 2: relays messages and keeps the presence list. Each ordinary instance receives the messages of one client. */
export class MsgApp implements ServerApp {
  readonly presence: PresenceList
  readonly #context: Pick<ServerContext, 'limits' | 'log'>
  readonly #limits: Limits
  readonly #log: ServerLog
  readonly #checker: PostChecker
  readonly #pool: Pool<State, Parameters<typeof messageInstance.next>[1]>
  readonly #deliveries: DeliveryService
  readonly #registrations = new Map<number, Registration>()
  readonly #registrationsOf = new Map<string, Set<Registration>>()
  /** The listening registrations by device (`deviceKey`). */
  readonly #listening = new Map<string, Registration>()
  readonly #links: LinkDirectory
  /** Serializes the changes of the registration of each link. */
  readonly #changes = new KeyedMutex()
  /** Links that wait until the directory lets them listen, by node. */
  readonly #pending = new Map<number, { readonly caller: Connection; readonly link: ListeningLink }>()
  /** Serializes the messages that the embedding program sends, for each sender. */
  readonly #sends = new KeyedMutex()
  /** Pending changes of the directory, which must end before the app is closed. */
  readonly #ending = new PendingWork()
  #epoch = 0
  #closing = false

  constructor(
    context: ServerContext,
    disk: Pick<DiskSpace, 'messageReserveBytes'>,
    authenticator: Authenticator,
    links: LinkDirectory,
  ) {
    const { limits, platform, log } = context
    this.#context = context
    this.#limits = limits
    this.#log = log
    this.#links = links
    this.#pool = new Pool(messageInstance, 'IDLE', limits.clients)
    this.#deliveries = new DeliveryService(context, disk, (user) => this.#announceReceipts(user))
    this.#checker = new PostChecker(limits, authenticator, (user) => this.presence.isOnline(user))
    this.presence = new PresenceList(limits.gatherMs, platform.clock, (changes) => {
      for (const { caller, listVersion } of this.#registrations.values()) {
        const notice = changes.after(listVersion)
        if (notice) caller.notify(notice)
      }
      return this.#registrations.size
    })
  }

  open(): Promise<void> {
    return this.#deliveries.open()
  }

  get gauges(): Pick<ServerGauges, 'pendingPresenceChanges' | 'deliveryBytes' | 'rememberedAttemptsPerUser'> {
    return { ...this.#deliveries.gauges, pendingPresenceChanges: this.presence.unsent }
  }

  async handle(caller: Connection, request: Request): Promise<WireMessage | Encoded | undefined> {
    const { message } = request
    if (this.#closing) throw new OspError('shutting-down')
    switch (message.event) {
      case 'RegistReq':
        return this.#register(caller, request, message)
      case 'ListReq':
        return this.presence.whole('ListAck')
      case 'PostMsgReq':
        return this.#post(caller, request, message)
      case 'ListMsgReq':
        return this.#list(caller, message)
      case 'ReturnMsgReq':
        await this.#deliveries.return(caller.user, checkedSeqs(message.mailboxSeqs))
        return { event: 'ReturnMsgAck' }
      case 'RemoveMsgReq':
        await this.#deliveries.remove(mailboxOf(caller, message.flags), checkedSeqs(message.mailboxSeqs))
        return { event: 'RemoveMsgAck' }
      case 'ListDevicesReq':
        return this.#listDevices(caller)
      case 'RemoveDeviceReq':
        return this.#removeDevice(caller, message.device)
      default:
        throw new OspError('malformed', `${message.event} is not a request to MsgApp`)
    }
  }

  notice(caller: Connection, message: WireMessage<NoticeName>): void {
    const listening = this.#registrations.get(caller.node)?.listening
    if (message.event === 'DeliverMsgNtf' && listening) this.#deliveries.handled(listening, message)
  }

  /** Returns whether the caller listens. A registration that does not listen never receives deliveries, so it counts as idle. */
  holds({ node }: Connection): boolean {
    return this.#registrations.get(node)?.listening !== undefined
  }

  lost(caller: Connection): void {
    const registration = this.#registrations.get(caller.node)
    if (registration) this.#end(registration, 'linkLost')
  }

  /** Sends the messages of the server itself. */
  get serverMail(): NoticeMail {
    const deliveries = this.#deliveries
    return {
      check: (recipients) => this.#checker.checkRecipients(recipients),
      full: (messages) => deliveries.full(messages),
      append: (messages) => deliveries.postOwn(messages),
    }
  }

  /**
   * Stores and delivers a message of the embedding program by the rules of POST_MSG_REQ. Messages of one sender are
   * stored in the order of the calls. Rejects with the error of the message.
   */
  async send(post: PostedMessage): Promise<void> {
    const isOpen = () => !this.#closing
    const [appended] = await this.#sends.run(post.sender, async () => {
      if (isOpen()) await this.#checker.checkRecipients(post.recipients)
      return this.#deliveries.post([post], undefined, isOpen)
    })
    const [error] = (await appended) ?? []
    if (!error) this.#deliveries.stored(post)
    else throw error.code === 'not-registered' ? new OspError('closed', 'the server was closed') : error
  }

  async close(): Promise<void> {
    this.#closing = true
    for (const registration of [...this.#registrations.values()]) this.#end(registration, 'shutDown')
    this.presence.stop()
    await this.#deliveries.close()
    await this.#ending.settled()
  }

  /** Changes the registration of a link. Changes of one link run one after another. */
  async #register(
    caller: Connection,
    request: Request,
    { userName: user, flags, device = '' }: WireMessage<'RegistReq'>,
  ): Promise<undefined> {
    if (user !== caller.user) throw new OspError('unauthorized', `this link belongs to ${caller.user}, not to ${user}`)
    if (device !== '') checkDeviceName(device)
    const listening = (flags & registFlags.listening) !== 0 ? device : undefined
    return this.#changes.run(`${caller.node}`, () => this.#change(caller, request, listening))
  }

  /**
   * Sends the reply itself, because the whole presence list follows it immediately. `device` is the device for which the link
   * is to listen; it is empty for a device without a name, and `undefined` if the link is not to listen.
   */
  async #change(caller: Connection, request: Request, device: string | undefined): Promise<undefined> {
    this.#checkCurrent(caller)
    const before = this.#registrations.get(caller.node)
    const former = before?.listening
    if (!before) this.#checkRoom(caller, device)
    const begun = device !== undefined && former?.device !== device ? await this.#listen(caller, device) : undefined
    if (before && former && former.device !== device) await this.#stopListening(before, former)
    const registration = this.#enter(caller, begun?.link)
    caller.reply(request, {
      event: 'RegistAck',
      instance: registration.instance.number,
      listVersion: this.presence.version,
      deliveryWindow: this.#limits.deliveryWindow,
    })
    caller.notify(this.presence.whole('RegistListNtf'))
    registration.listVersion = this.presence.version
    if (begun) this.#deliveries.deliver(caller, begun)
  }

  /** Throws if the link has ended, or the app closes, while a change of its registration waited. */
  #checkCurrent(caller: Connection): void {
    if (this.#closing) throw new OspError('shutting-down')
    if (!caller.open) throw new OspError('link-lost')
  }

  /** Throws OspError `clients-full` if there is no instance for a new registration, unless it takes over that of its device. */
  #checkRoom({ user }: Connection, device: string | undefined): void {
    if (device !== undefined && this.#listening.has(deviceKey({ user, device }))) return
    const { registrationsPerUser, clients } = this.#limits
    if ((this.#registrationsOf.get(user)?.size ?? 0) >= registrationsPerUser) {
      const text = `${user} has ${registrationsPerUser} registered clients, the maximum for one user`
      throw new OspError('clients-full', text)
    }
    if (this.#pool.busy === this.#pool.size) {
      throw new OspError('clients-full', `the server has ${clients} registered clients, its maximum`)
    }
    if (device !== undefined && this.presence.size >= fixed.clientsMost) {
      throw new OspError('clients-full', `the presence list has ${fixed.clientsMost} clients, its maximum`)
    }
  }

  /** Makes the caller the recipient of its user's messages for a device in the directory. */
  async #listen(caller: Connection, device: string): Promise<Recipient> {
    const { user, session, node } = caller
    const link = { user, session, node, device, epoch: ++this.#epoch }
    this.#pending.set(node, { caller, link })
    try {
      await this.#deliveries.openDevice(link)
      const { handed } = await this.#links.listen(link)
      return { link, handed }
    } finally {
      this.#pending.delete(node)
    }
  }

  /** Creates the registration of a link, or changes it. `link` is its entry in the directory if it begins to listen. */
  #enter(caller: Connection, link: ListeningLink | undefined): Registration {
    const { user, node } = caller
    try {
      this.#checkCurrent(caller)
      const former = link && this.#listening.get(deviceKey(link))
      if (former) this.#takeOver(former, caller)
      const registration = this.#registrations.get(node) ?? this.#createRegistration(caller, link?.device)
      if (!link) return registration
      registration.listening = link
      this.#listening.set(deviceKey(link), registration)
      this.presence.enter({ user, node })
      return registration
    } catch (error) {
      if (link) this.#unlisten(link, 0)
      throw error
    }
  }

  /** Uses an idle instance. */
  #createRegistration(caller: Connection, device: string | undefined): Registration {
    this.#checkRoom(caller, device)
    const instance = this.#pool.assign(caller, 'RegistReq')
    if (!instance) throw new OspError('internal', 'there is no idle instance')
    return this.#addRegistration(caller, instance)
  }

  #addRegistration(caller: Connection, instance: Instance<State>): Registration {
    // It gets changes of the presence list after its reply.
    const listVersion = Number.POSITIVE_INFINITY
    const isToldOfReceipts = false
    const posts = new Mutex()
    const registration = { caller, instance, listening: undefined, listVersion, isToldOfReceipts, posts }
    this.#registrations.set(caller.node, registration)
    const own = this.#registrationsOf.get(caller.user) ?? new Set()
    this.#registrationsOf.set(caller.user, own.add(registration))
    return registration
  }

  /** Ends the registration of a link, and the link, because the link `by` now listens for the same device. */
  superseded(node: number, by: number): void {
    const former = this.#registrations.get(node)
    const local = this.#pending.get(by)?.caller
    if (former?.listening && local) this.#takeOver(former, local)
    else if (former?.listening) {
      this.#pool.release(former.instance, 'linkLost', 'superseded')
      this.#supersede(former, { user: former.caller.user, node: by })
    } else void this.#pending.get(node)?.caller.close(supersededError())
  }

  /** Ends a listening registration and its link for another link of this server, which gets the instance if it has none. */
  #takeOver(former: Registration, by: Connection): void {
    const { instance } = former
    if (this.#registrations.has(by.node)) this.#pool.release(instance, 'linkLost', 'superseded')
    else {
      this.#pool.move(instance, 'takenOver', by, 'superseded')
      this.#addRegistration(by, instance)
    }
    this.#supersede(former, linkOf(by))
  }

  /** Ends a registration and its link after its instance was released or moved to the new registration. */
  #supersede(former: Registration, by: Pick<Connection, 'user' | 'node'> & Partial<Connection>): void {
    const { caller } = former
    this.#log({ level: 'info', event: 'registration-superseded', ...by, former: caller.node })
    void this.#stopListening(former)
    this.#forget(former)
    void caller.close(supersededError())
  }

  /** Stops the delivery to a registration at once. Resolves when the directory has recorded it. */
  #stopListening(registration: Registration, listening = registration.listening): Promise<void> {
    if (!listening || registration.listening !== listening) return Promise.resolve()
    registration.listening = undefined
    this.#listening.delete(deviceKey(listening))
    const handed = this.#deliveries.stop(listening)
    this.presence.leave(registration.caller)
    return this.#unlisten(listening, handed)
  }

  #unlisten(link: ListeningLink, handed: number): Promise<void> {
    const ended = this.#links.unlisten(link, handed)
    this.#ending.track(ended)
    return ended
  }

  #end(registration: Registration, event: 'linkLost' | 'shutDown'): void {
    void this.#stopListening(registration)
    this.#forget(registration)
    this.#pool.release(registration.instance, event)
  }

  #forget(registration: Registration): void {
    const { node, user } = registration.caller
    if (!this.#registrations.delete(node)) return
    const own = this.#registrationsOf.get(user)
    own?.delete(registration)
    if (own?.size === 0) this.#registrationsOf.delete(user)
  }

  /** Notifies the registered links of a user of new receipts. Skips links that have not listed receipts since the last notification. */
  #announceReceipts(user: string): void {
    for (const registration of this.#registrationsOf.get(user) ?? []) {
      if (registration.isToldOfReceipts) continue
      registration.isToldOfReceipts = true
      registration.caller.notify({ event: 'ReceiptsNtf' })
    }
  }

  /** Lists messages of the caller's mailbox. They stay there, and are delivered to the program that is listening. */
  async #list(caller: Connection, { flags, afterSeq, most }: WireMessage<'ListMsgReq'>): Promise<WireMessage> {
    const wanted = most === 0 ? fixed.batchMessages : Math.min(most, fixed.batchMessages)
    const registration = this.#registrations.get(caller.node)
    if (registration && (flags & listMsgFlags.receipts) !== 0) registration.isToldOfReceipts = false
    const mailbox = mailboxOf(caller, flags)
    const listed = await this.#deliveries.list(mailbox, (flags & listMsgFlags.aside) !== 0, afterSeq, wanted)
    const bytes = listed.reduce((sum, { content }) => sum + content.length, 0)
    caller.charge(costs.listedMessages(listed.length, bytes))
    return { event: 'ListMsgAck', messages: listed.map(wireMessageOf) }
  }

  async #listDevices(caller: Connection): Promise<WireMessage> {
    const { user } = caller
    const listed = await this.#deliveries.listDevices(user)
    caller.charge(costs.counted(listed.reduce((sum, { waiting }) => sum + waiting, 0)))
    const devices = listed.map(({ name: device, seenAt, waiting, isListening }) => {
      const listening = isListening || this.#isListening({ user, device }) ? 1 : 0
      return { device, seenAt, listening, waiting }
    })
    return { event: 'ListDevicesAck', devices }
  }

  async #removeDevice({ user }: Connection, device: string): Promise<WireMessage> {
    if (device !== '') checkDeviceName(device)
    // Nothing may be awaited between this check and the removal: the device could begin to listen.
    if (this.#isListening({ user, device })) throw new OspError('device-listening')
    return { event: 'RemoveDeviceAck', removed: (await this.#deliveries.removeDevice({ user, device })) ? 1 : 0 }
  }

  /** Returns whether a link of this server listens for a device, or waits until it may. */
  #isListening(device: UserDevice): boolean {
    const key = deviceKey(device)
    return this.#listening.has(key) || Array.from(this.#pending.values()).some(({ link }) => deviceKey(link) === key)
  }

  /**
   * Sends the reply instead of returning it, so that the sender gets it before the messages are delivered, except those before
   * one that may have to wait for space.
   */
  async #post(caller: Connection, request: Request, { messages }: WireMessage<'PostMsgReq'>): Promise<undefined> {
    const { instance } = request
    const registration = this.#registrations.get(caller.node)
    if (registration?.instance.number !== instance) {
      throw new OspError(this.#pool.holderOf(instance) ? 'wrong-node' : 'not-registered')
    }
    if (messages.length === 0 || messages.length > fixed.batchMessages) {
      throw new OspError('malformed', `POST_MSG_REQ has 1 to ${fixed.batchMessages} messages, not ${messages.length}`)
    }
    // Messages are checked concurrently, and posted in the order in which they arrived.
    const checked = this.#checker.check(caller.user, messages)
    checked.catch(() => {})
    const isCurrent = () => this.#registrations.get(caller.node) === registration
    let appends: Awaited<ReturnType<DeliveryService['post']>> = []
    try {
      const posts = await registration.posts.run(async () => {
        const posts = await checked
        const valid = posts.filter(({ refusal }) => !refusal)
        if (valid.length > 0) appends = await this.#deliveries.post(valid, sessionLinkOf(caller), isCurrent)
        return posts
      })
      const outcomes = (await Promise.all(appends)).flat()
      try {
        caller.reply(request, this.#outcome(caller, posts, outcomes))
      } finally {
        let next = 0
        for (const post of posts) if (!post.refusal && !outcomes[next++]) this.#deliveries.stored(post)
      }
    } catch (error) {
      // A message may be stored, so neither ACK nor NACK would be true. The client sends it again on its next link.
      const { code } = OspError.from(error)
      if (code === 'internal') void caller.close(new OspError(code))
      throw error
    }
  }

  /** Returns the reply; `outcomes` has those of the messages that passed the checks. Throws an outcome that is `internal` or `link-lost`. */
  #outcome(
    caller: Connection,
    posts: readonly CheckedPost[],
    outcomes: readonly (OspError | undefined)[],
  ): WireMessage<'PostMsgAck'> {
    const statuses: (readonly number[])[] = []
    const refused: WireMessage<'PostMsgAck'>['refused'][number][] = []
    let next = 0
    for (const [message, post] of posts.entries()) {
      const reason = post.refusal ?? outcomes[next++]
      if (reason === undefined) {
        statuses.push(post.named.map((recipient) => this.#statusOf(recipient, post.unseen)))
        continue
      }
      if (reason.code === 'internal' || reason.code === 'link-lost') throw reason
      const error = publicError(reason, 'PostMsgReq', caller, this.#context)
      statuses.push([])
      refused.push({ message, ...refusalFields(error), recipients: error.recipients ?? [] })
    }
    return { event: 'PostMsgAck', statuses, refused }
  }

  #statusOf(recipient: string, unseen: ReadonlySet<string>): number {
    if (this.presence.isOnline(recipient)) return deliveryStatus.online
    return unseen.has(recipient) ? deliveryStatus.unseen : deliveryStatus.stored
  }
}

/** Returns the mailbox of the caller, or that of its receipts. */
const mailboxOf = ({ user }: Connection, flags = 0) =>
  (flags & listMsgFlags.receipts) === 0 ? user : receiptMailbox(user)

/** Returns the seqs of a request. Throws OspError `malformed` if they are too many. */
function checkedSeqs(seqs: readonly number[]): readonly number[] {
  if (seqs.length <= fixed.batchMessages) return seqs
  throw new OspError('malformed', `a request names up to ${fixed.batchMessages} messages, not ${seqs.length}`)
}

const supersededError = () => new OspError('superseded', 'another program of the same user is now listening')
