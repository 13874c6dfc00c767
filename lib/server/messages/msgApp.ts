import { BoundedMap } from '../../core/boundedMap.ts'
import { messageInstance } from '../../core/instance.ts'
import type { Request } from '../../core/link.ts'
import { Multiset } from '../../core/multiset.ts'
import { type Instance, Pool } from '../../core/pool.ts'
import { OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { Encoded, WireMessage } from '../../wire/message.ts'
import { deliveryStatus, registFlags } from '../../wire/protocol.ts'
import type { Connection, ServerApp, ServerContext } from '../app.ts'
import type { DiskSpace } from '../files/diskSpace.ts'
import type { ServerLog } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'
import type { ServerGauges } from '../status.ts'
import { DeliveryService } from './deliveryService.ts'
import { PresenceList } from './presenceList.ts'

type State = 'IDLE' | 'RECEIVE_MSG'

/** A link that has registered. Its node holds the instance. */
interface Registration {
  readonly caller: Connection
  readonly instance: Instance<State>
  /** The client is in the presence list and receives messages. */
  listening: boolean
  /** Posts the messages of this link in the order in which they arrived. */
  readonly posts: Mutex
}

/** App 2: relays messages and keeps the presence list. Each ordinary instance receives the messages of one client. */
export class MsgApp implements ServerApp {
  readonly presence: PresenceList
  readonly #limits: Limits
  readonly #log: ServerLog
  readonly #authenticator: Authenticator
  readonly #pool: Pool<State, Parameters<typeof messageInstance.next>[1]>
  readonly #deliveries: DeliveryService
  readonly #registrations = new Map<number, Registration>()
  readonly #registrationCounts = new Multiset()
  /** The listening registrations by user. */
  readonly #listening = new Map<string, Registration>()
  readonly #superseded = new SupersededSessions()
  #closing = false

  constructor(context: ServerContext, disk: Pick<DiskSpace, 'messageReserveBytes'>, authenticator: Authenticator) {
    const { limits, platform, log } = context
    this.#limits = limits
    this.#log = log
    this.#authenticator = authenticator
    this.#pool = new Pool(messageInstance, 'IDLE', limits.clients)
    this.#deliveries = new DeliveryService(context, disk)
    this.presence = new PresenceList(limits.gatherMs, platform.clock, (notice) => {
      for (const { caller } of this.#registrations.values()) caller.notify(notice)
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
        return this.#post(caller, request.instance, message)
      default:
        throw new OspError('malformed', `${message.event} is not a request to MsgApp`)
    }
  }

  /** Returns whether the caller listens. A registration that does not listen never receives deliveries, so it counts as idle. */
  holds({ node }: Connection): boolean {
    return this.#registrations.get(node)?.listening === true
  }

  lost(caller: Connection): void {
    const registration = this.#registrations.get(caller.node)
    if (registration) this.#end(registration, 'linkLost')
  }

  async close(): Promise<void> {
    this.#closing = true
    for (const registration of [...this.#registrations.values()]) this.#end(registration, 'shutDown')
    this.presence.stop()
    await this.#deliveries.close()
  }

  /** Sends the reply itself, because the whole presence list follows it immediately. */
  #register(caller: Connection, request: Request, { userName: user, flags }: WireMessage<'RegistReq'>): undefined {
    if (user !== caller.user) throw new OspError('unauthorized', `this link belongs to ${caller.user}, not to ${user}`)
    const listening = (flags & registFlags.listening) !== 0
    if (listening && this.#superseded.has(user, caller.session)) throw new OspError('superseded')
    const registration = this.#registrations.get(caller.node) ?? this.#createRegistration(caller, listening)
    const begins = listening && !registration.listening
    if (listening) this.#startListening(registration)
    else this.#stopListening(registration)
    caller.reply(request, {
      event: 'RegistAck',
      instance: registration.instance.number,
      listVersion: this.presence.version,
      deliveryWindow: this.#limits.deliveryWindow,
    })
    caller.notify(this.presence.whole('RegistListNtf'))
    if (begins) this.#deliveries.deliver(caller)
  }

  /** Uses the instance of the registration that the new one supersedes, or an idle instance. */
  #createRegistration(caller: Connection, listening: boolean): Registration {
    const former = listening ? this.#listening.get(caller.user) : undefined
    let instance: Instance<State> | undefined
    if (former) {
      instance = former.instance
      this.#pool.move(instance, 'takenOver', caller, 'superseded')
      this.#supersede(former, caller)
    } else {
      const { registrationsPerUser } = this.#limits
      if (this.#registrationCounts.of(caller.user) >= registrationsPerUser) {
        const text = `${caller.user} has ${registrationsPerUser} registered clients, the maximum for one user`
        throw new OspError('clients-full', text)
      }
      instance = this.#pool.assign(caller, 'RegistReq')
    }
    if (!instance) {
      const { clients } = this.#limits
      throw new OspError('clients-full', `the server has ${clients} registered clients, its maximum`)
    }
    const registration = { caller, instance, listening: false, posts: new Mutex() }
    this.#registrations.set(caller.node, registration)
    this.#registrationCounts.add(caller.user)
    return registration
  }

  #startListening(registration: Registration): void {
    const { caller } = registration
    const { user, node } = caller
    const former = this.#listening.get(user)
    if (former === registration) return
    if (former) {
      this.#pool.release(former.instance, 'linkLost', 'superseded')
      this.#supersede(former, caller)
    }
    registration.listening = true
    this.#listening.set(user, registration)
    this.presence.enter({ user, node })
  }

  #stopListening(registration: Registration): void {
    if (!registration.listening) return
    const { user, node } = registration.caller
    registration.listening = false
    this.#listening.delete(user)
    this.#deliveries.stop(user)
    this.presence.leave({ user, node })
  }

  /** Ends a registration and its link after its instance was released or moved to the new registration. */
  #supersede(former: Registration, by: Connection): void {
    const { caller } = former
    this.#log({ level: 'info', event: 'registration-superseded', ...linkOf(by), former: caller.node })
    this.#superseded.add(caller.user, caller.session)
    this.#stopListening(former)
    this.#forget(former)
    void caller.close(new OspError('superseded', 'another program of the same user is now listening'))
  }

  #end(registration: Registration, event: 'linkLost' | 'shutDown'): void {
    this.#stopListening(registration)
    this.#forget(registration)
    this.#pool.release(registration.instance, event)
  }

  #forget({ caller }: Registration): void {
    if (this.#registrations.delete(caller.node)) this.#registrationCounts.remove(caller.user)
  }

  async #post(caller: Connection, instance: number, message: WireMessage<'PostMsgReq'>): Promise<WireMessage> {
    const registration = this.#registrations.get(caller.node)
    if (registration?.instance.number !== instance) {
      throw new OspError(this.#pool.holderOf(instance) ? 'wrong-node' : 'not-registered')
    }
    const { messageId: id, content } = message
    const recipients = [...new Set(message.recipients)]
    // Messages are checked concurrently, and posted in the order in which they arrived.
    const checked = this.#check(recipients, content)
    checked.catch(() => {})
    let unseen: ReadonlySet<string>
    try {
      unseen = await registration.posts.run(() => checked)
      // No request of a link is started after the link has ended.
      if (this.#registrations.get(caller.node) !== registration) throw new OspError('not-registered')
      await this.#deliveries.post({ sender: caller.user, id, content }, recipients)
    } catch (reason) {
      const error = OspError.from(reason)
      // The message may be stored, so neither ACK nor NACK would be true. The client sends it again on its next link.
      if (error.code === 'internal') void caller.close(new OspError('internal'))
      throw error
    }
    const statusOf = (recipient: string) => {
      if (this.#listening.has(recipient)) return deliveryStatus.online
      return unseen.has(recipient) ? deliveryStatus.unseen : deliveryStatus.stored
    }
    const statuses = recipients.map((recipient) => ({ recipient, status: statusOf(recipient) }))
    return { event: 'PostMsgAck', recipients: statuses }
  }

  /** Resolves with the recipients that are known users and have never logged in. */
  async #check(recipients: readonly string[], content: Uint8Array): Promise<ReadonlySet<string>> {
    if (recipients.length === 0) throw new OspError('malformed', 'a message needs a recipient')
    const most = this.#limits.recipients
    if (recipients.length > most) {
      const text = `a message has at most ${most} recipients; this one has ${recipients.length}`
      throw new OspError('too-many-recipients', text)
    }
    const bad = recipients.filter((recipient) => !isUserName(recipient))
    if (bad.length > 0) throw new OspError('bad-name', 'a recipient is not a valid user name', { recipients: bad })
    if (content.length > fixed.messageBytes) {
      const text = `a message has at most ${fixed.messageBytes} bytes; this one has ${content.length}`
      throw new OspError('too-large', text)
    }
    const known = await Promise.all(recipients.map((recipient) => this.#authenticator.knows(recipient)))
    const unknown = recipients.filter((_, at) => !known[at])
    if (unknown.length > 0) throw new OspError('unknown-user', undefined, { recipients: unknown })
    return new Set(recipients.filter((_, at) => known[at] === 'unseen'))
  }
}

/** Remembers sessions whose registration was superseded by another of the same user, so that they do not take it back. */
export class SupersededSessions {
  /** The sessions of each user, least recently superseded first. */
  readonly #sessions = new BoundedMap<string, readonly string[]>(fixed.rememberedUsers)

  add(user: string, session: string): void {
    const others = (this.#sessions.get(user) ?? []).filter((other) => other !== session)
    this.#sessions.set(user, [...others, session].slice(-fixed.supersededSessions))
  }

  has(user: string, session: string): boolean {
    return this.#sessions.get(user)?.includes(session) ?? false
  }
}
