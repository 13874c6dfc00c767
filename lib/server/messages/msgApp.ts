import { messageInstance } from '../../core/instance.ts'
import type { Request } from '../../core/link.ts'
import { Multiset } from '../../core/multiset.ts'
import { type Instance, Pool } from '../../core/pool.ts'
import { OspError } from '../../errors.ts'
import { fixed, type Limits } from '../../limits.ts'
import { isUserName } from '../../names.ts'
import type { Authenticator } from '../../ports/authenticator.ts'
import { Mutex } from '../../runtime/mutex.ts'
import type { Encoded, Message } from '../../wire/message.ts'
import { deliveryStatus, registFlags } from '../../wire/protocol.ts'
import type { App, Connection } from '../app.ts'
import type { ServerGaugeSink } from '../gauges.ts'
import type { ServerLog } from '../logEvents.ts'
import { linkOf } from '../serverLog.ts'
import { DeliveryService, type DeliveryServiceOptions } from './deliveryService.ts'
import { Roster } from './roster.ts'
import { Superseded } from './superseded.ts'

export interface MsgAppOptions extends DeliveryServiceOptions {
  readonly authenticator: Authenticator
}

type State = 'IDLE' | 'RECEIVE_MSG'

/** A link that has registered; the instance holds its node. */
interface Registration {
  readonly caller: Connection
  readonly instance: Instance<State>
  /** In the list, and receiving messages. */
  listening: boolean
  /** What it posts is looked at in the order in which it came. */
  readonly posts: Mutex
}

/** App 2: relays messages and keeps the online list. Its daemon registers clients; an instance takes one client's messages. */
export class MsgApp implements App {
  readonly #limits: Limits
  readonly #authenticator: Authenticator
  readonly #pool: Pool<State, Parameters<typeof messageInstance.next>[1]>
  readonly #mailroom: DeliveryService
  readonly #log: ServerLog
  readonly #roster: Roster
  readonly #registrations = new Map<number, Registration>()
  /** How many of them each user has. */
  readonly #tally = new Multiset()
  /** By user. */
  readonly #listening = new Map<string, Registration>()
  readonly #superseded = new Superseded()
  #closing = false

  constructor(options: MsgAppOptions) {
    const { limits, platform } = options
    this.#limits = limits
    this.#authenticator = options.authenticator
    this.#log = options.log
    this.#pool = new Pool(messageInstance, 'IDLE', limits.clients)
    this.#mailroom = new DeliveryService(options)
    this.#roster = new Roster(limits.gatherMs, platform.clock, (notice) => {
      for (const { caller } of this.#registrations.values()) caller.notify(notice)
    })
  }

  /** Takes up the mailboxes as the storage has them. */
  open(): Promise<void> {
    return this.#mailroom.open()
  }

  /** Who is online. */
  get roster(): Roster {
    return this.#roster
  }

  held(tell: ServerGaugeSink): void {
    tell('changes of the online list that are not told', this.#roster.untold)
    this.#mailroom.held(tell)
  }

  async handle(caller: Connection, request: Request): Promise<Message | Encoded | undefined> {
    const { message } = request
    if (this.#closing) throw new OspError('shutting-down')
    switch (message.event) {
      case 'RegistReq':
        return this.#regist(caller, request, message)
      case 'ListReq':
        return this.#roster.whole('ListAck')
      case 'PostMsgReq':
        return this.#post(caller, request.instance, message)
      default:
        throw new OspError('malformed', `${message.event} is not a request to MsgApp`)
    }
  }

  /** One that does not listen only asks: it has no more to wait for than a link without a registration. */
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
    this.#roster.stop()
    await this.#mailroom.close()
  }

  /** Replies by itself, since the whole list follows the reply at once. */
  #regist(caller: Connection, request: Request, { userName: user, flags }: Message<'RegistReq'>): undefined {
    if (user !== caller.user) throw new OspError('unauthorized', `this link belongs to ${caller.user}, not to ${user}`)
    const listening = (flags & registFlags.listening) !== 0
    if (listening && this.#superseded.has(user, caller.session)) throw new OspError('superseded')
    const registration = this.#registrations.get(caller.node) ?? this.#register(caller, listening)
    const begins = listening && !registration.listening
    if (listening) this.#listen(registration)
    else this.#hush(registration)
    caller.reply(request, {
      event: 'RegistAck',
      instance: registration.instance.number,
      listVersion: this.#roster.version,
      deliveryWindow: this.#limits.deliveryWindow,
    })
    caller.notify(this.#roster.whole('RegistListNtf'))
    if (begins) this.#mailroom.deliver(caller)
  }

  /** With an instance of its own, or with the one of the registration that it will take the place of. */
  #register(caller: Connection, listening: boolean): Registration {
    const former = listening ? this.#listening.get(caller.user) : undefined
    let instance: Instance<State> | undefined
    if (former) {
      instance = former.instance
      this.#pool.move(instance, 'takenOver', caller, 'superseded')
      this.#supersede(former, caller)
    } else {
      this.#checkOwn(caller.user)
      instance = this.#pool.assign(caller, 'RegistReq')
    }
    if (!instance) {
      const { clients } = this.#limits
      throw new OspError('clients-full', `the server has ${clients} registered clients, as many as it takes`)
    }
    const registration = { caller, instance, listening: false, posts: new Mutex() }
    this.#registrations.set(caller.node, registration)
    this.#tally.add(caller.user)
    return registration
  }

  #checkOwn(user: string): void {
    const { registrationsPerUser: most } = this.#limits
    if (this.#tally.of(user) < most) return
    throw new OspError('clients-full', `${user} has ${most} registered clients, as many as the server allows one user`)
  }

  #listen(registration: Registration): void {
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
    this.#roster.enter({ user, node })
  }

  /** Out of the list, if it was in it. */
  #hush(registration: Registration): void {
    if (!registration.listening) return
    const { user, node } = registration.caller
    registration.listening = false
    this.#listening.delete(user)
    this.#mailroom.stop(user)
    this.#roster.leave({ user, node })
  }

  /** Its instance is another's already: only the link is left to be ended. */
  #supersede(former: Registration, by: Connection): void {
    const { caller } = former
    this.#log({ level: 'info', event: 'registration-superseded', ...linkOf(by), former: caller.node })
    this.#superseded.add(caller.user, caller.session)
    this.#hush(former)
    this.#forget(former)
    void caller.close(new OspError('superseded', 'another program of the same user listens now'))
  }

  #end(registration: Registration, event: 'linkLost' | 'shutDown'): void {
    this.#hush(registration)
    this.#forget(registration)
    this.#pool.release(registration.instance, event)
  }

  #forget({ caller }: Registration): void {
    if (this.#registrations.delete(caller.node)) this.#tally.remove(caller.user)
  }

  async #post(caller: Connection, instance: number, message: Message<'PostMsgReq'>): Promise<Message | undefined> {
    const registration = this.#registrations.get(caller.node)
    if (registration?.instance.number !== instance) {
      throw new OspError(this.#pool.holderOf(instance) ? 'wrong-node' : 'not-registered')
    }
    const { messageId: id, content } = message
    const recipients = [...new Set(message.recipients)]
    // Looked at beside the others, and posted behind those that came before.
    const checked = this.#check(recipients, content)
    checked.catch(() => {})
    let unseen: ReadonlySet<string>
    try {
      unseen = await registration.posts.run(() => checked)
      // Its link has ended meanwhile: nothing that it asked for is begun any more.
      if (this.#registrations.get(caller.node) !== registration) throw new OspError('not-registered')
      await this.#mailroom.post({ sender: caller.user, id, content }, recipients)
    } catch (error) {
      const why = OspError.from(error)
      if (why.code !== 'internal') throw why
      // Perhaps it is stored: neither an ACK nor a NACK would be true. Opening the storage anew settles it.
      void caller.close(new OspError('internal'))
      throw why
    }
    const statusOf = (recipient: string) => {
      if (this.#listening.has(recipient)) return deliveryStatus.online
      return unseen.has(recipient) ? deliveryStatus.unseen : deliveryStatus.stored
    }
    return {
      event: 'PostMsgAck',
      recipients: recipients.map((recipient) => ({ recipient, status: statusOf(recipient) })),
    }
  }

  /** Resolves with the recipients whose names no user has logged in with yet. */
  async #check(recipients: readonly string[], content: Uint8Array): Promise<ReadonlySet<string>> {
    if (recipients.length === 0) throw new OspError('malformed', 'a message needs a recipient')
    const most = this.#limits.recipients
    if (recipients.length > most) {
      throw new OspError(
        'too-many-recipients',
        `a message has at most ${most} recipients; this one has ${recipients.length}`,
      )
    }
    const bad = recipients.filter((recipient) => !isUserName(recipient))
    if (bad.length > 0) throw new OspError('bad-name', 'a recipient is no user name', { recipients: bad })
    if (content.length > fixed.messageBytes) {
      throw new OspError(
        'too-large',
        `a message has at most ${fixed.messageBytes} bytes; this one has ${content.length}`,
      )
    }
    const known = await Promise.all(recipients.map((recipient) => this.#authenticator.knows(recipient)))
    const strangers = recipients.filter((_, at) => !known[at])
    if (strangers.length > 0) throw new OspError('unknown-user', undefined, { recipients: strangers })
    return new Set(recipients.filter((_, at) => known[at] === 'unseen'))
  }
}
