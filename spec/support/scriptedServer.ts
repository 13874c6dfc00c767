import assert from 'node:assert/strict'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client } from '../../lib/client/client.ts'
import { createClient } from '../../lib/client/connect.ts'
import { type ErrorCode, numberOf, OspError } from '../../lib/errors.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type EventName, type Message, type NackName, type RequestName } from '../../lib/wire/message.ts'
import { registFlags, rosterChange, rosterKind } from '../../lib/wire/protocol.ts'
import { FakeSocket } from './fakeSocket.ts'
import { welcome } from './hostileServer.ts'
import { idOf } from './messageClient.ts'
import { turn } from './turn.ts'
import { VirtualClock } from './virtualClock.ts'

/** A frame that the client has sent, read. */
export interface Asked<K extends EventName = EventName> {
  readonly message: Message<K>
  readonly frame: Frame
}

/** A NACK of this code. */
export function nackOf<K extends NackName>(event: K, code: ErrorCode, more: object = {}): Message<K> {
  return { event, code: numberOf(code), retryAfter: 0, text: code, recipients: [], ...more } as unknown as Message<K>
}

/** `promise`, which may reject without anybody minding. */
export function unheard<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/** The delivery of a message; its id is made of its seq. */
export function delivery(mailboxSeq: number, more: Partial<Message<'DeliverMsgReq'>> = {}): Message<'DeliverMsgReq'> {
  const content = new TextEncoder().encode(`${mailboxSeq}`)
  const messageId = idOf(mailboxSeq)
  return { event: 'DeliverMsgReq', messageId, mailboxSeq, sender: 'bob', sentAt: 1_000, content, attempt: 1, ...more }
}

/** One link, of which the spec plays the server. */
export class ScriptedLink {
  readonly socket: FakeSocket
  /** What the client has proved itself by. */
  token = ''
  #read = 0
  #seq = 0

  constructor(reliable: boolean) {
    this.socket = new FakeSocket({ reliable })
  }

  /** The next frame that the client sends, which must be this event. */
  async expect<K extends EventName>(event: K): Promise<Asked<K>> {
    for (let turns = 0; this.#read === this.socket.sent.length; turns++) {
      assert.ok(turns < 50, `${event} was expected, nothing came`)
      await turn()
    }
    const frame = this.socket.sent[this.#read++] as Frame
    const message = decode(frame)
    assert.equal(message.event, event)
    return { message: message as Message<K>, frame }
  }

  /** The client has nothing more to say. */
  async quiet(): Promise<void> {
    for (let turns = 0; turns < 5; turns++) await turn()
    assert.deepEqual(
      this.socket.sent.slice(this.#read).map((frame) => decode(frame).event),
      [],
    )
  }

  reply(to: Asked, message: Message): void {
    this.socket.hear(message, to.frame.seq, to.frame.instance)
  }

  /** Sends a REQ, by default under the next seq; returns its seq. */
  ask(message: Message<RequestName>, seq: number = ++this.#seq): number {
    this.socket.hear(message, seq)
    return seq
  }

  /** Gives the next seq to a REQ that is not sent now. */
  skip(): number {
    return ++this.#seq
  }

  say(message: Message): void {
    this.socket.hear(message, 0)
  }

  /** The whole list, or changes: `+bob` and `-bob`, each at the node that its place in `users` gives. */
  list(listVersion: number, words: readonly string[], kind: keyof typeof rosterKind = 'whole'): void {
    this.say({ event: 'RegistListNtf', ...listOf(listVersion, words, kind) })
  }

  /** Answers the next REGIST. */
  async register(flags: number, { instance = 7, window = 32, version = 1, list = [] as string[] } = {}): Promise<void> {
    const asked = await this.expect('RegistReq')
    assert.equal(asked.message.flags, flags)
    this.reply(asked, { event: 'RegistAck', instance, listVersion: version, deliveryWindow: window })
    this.list(version, list)
  }

  /** Acknowledges what was asked with this status for all. */
  acknowledge(asked: Asked<'PostMsgReq'>, status = 0): void {
    const recipients = asked.message.recipients.map((recipient) => ({ recipient, status }))
    this.reply(asked, { event: 'PostMsgAck', recipients })
  }

  /** The client has ended the link, with this code in its GOODBYE. */
  async dismissed(code: ErrorCode): Promise<void> {
    for (let turns = 0; turns < 10; turns++) await turn()
    const { last } = this.socket
    assert.ok(last, 'the link was not ended')
    assert.equal((decode(last) as Message<'GoodbyeNtf'>).code, numberOf(code))
  }

  goodbye(code: ErrorCode): void {
    this.say({ event: 'GoodbyeNtf', code: numberOf(code), retryAfter: 0, text: code })
    this.break()
  }

  break(): void {
    this.socket.break(new OspError('link-lost'))
  }
}

/** The node of a user in a scripted list. */
export const nodeOf = (user: string) => user.charCodeAt(0)

/** The fields of a list. */
export function listOf(listVersion: number, words: readonly string[], kind: keyof typeof rosterKind = 'whole') {
  const members = words.map((word) => ({
    change: word.startsWith('-') ? rosterChange.gone : rosterChange.here,
    node: nodeOf(word.slice(1)),
    userName: word.slice(1),
  }))
  return { listVersion, kind: rosterKind[kind], members }
}

/** A server that the spec plays, without any wire, on a clock that stands still. */
export class ScriptedServer implements AsyncDisposable {
  readonly clock = new VirtualClock()
  readonly log: LogEntry[] = []
  readonly links: ScriptedLink[] = []
  /** What HELLO is answered with. */
  welcome: Message<'HelloAck'> = { ...welcome, messageIdFor: 100 }
  readonly #reliable: boolean
  readonly #clients: Client[] = []
  #taken = 0

  constructor({ reliable = true } = {}) {
    this.#reliable = reliable
  }

  readonly transport: Transport = {
    listen: () => Promise.reject(new Error('nobody listens here')),
    dial: async () => {
      const link = new ScriptedLink(this.#reliable)
      this.links.push(link)
      return link.socket
    },
  }

  /** A client that reconnects at once. */
  client(options: Partial<BoundClientOptions> = {}): Client {
    const { clock } = this
    const real = nodePlatform()
    const platform = { ...real, clock, random: { ...real.random, fraction: () => 0 } }
    const log = (entry: LogEntry) => this.log.push(entry)
    const client = createClient({ to: this.transport, user: 'alice', platform, software: 'spec', log, ...options })
    this.#clients.push(client)
    return client
  }

  /** The next link, on which HELLO was answered. */
  async link(): Promise<ScriptedLink> {
    for (let turns = 0; turns < 50 && !this.links[this.#taken]; turns++) {
      this.clock.pass(0)
      await turn()
    }
    const link = this.links[this.#taken++]
    assert.ok(link, 'no link was dialled')
    const hello = await link.expect('HelloReq')
    link.token = hello.message.token
    link.reply(hello, this.welcome)
    return link
  }

  /** The next link, registered with these flags. */
  async registered(flags = 0, granted: Parameters<ScriptedLink['register']>[1] = {}): Promise<ScriptedLink> {
    const link = await this.link()
    await link.register(flags, granted)
    return link
  }

  /** The next link, with a client that listens. */
  listening(granted: Parameters<ScriptedLink['register']>[1] = {}): Promise<ScriptedLink> {
    return this.registered(registFlags.listening, granted)
  }

  /** Lets `ms` pass, and what that leads to happen. */
  async pass(ms: number): Promise<void> {
    await turn()
    this.clock.pass(ms)
    await turn()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) {
      const closed = client.close()
      await this.pass(1_000)
      await closed
    }
  }
}
