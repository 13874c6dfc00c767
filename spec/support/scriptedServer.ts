import assert from 'node:assert/strict'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client } from '../../lib/client/client.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { type ErrorCode, numberOf, OspError } from '../../lib/errors.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type EventName, type NackName, type RequestName, type WireMessage } from '../../lib/wire/message.ts'
import { registFlags, rosterChange, rosterKind } from '../../lib/wire/protocol.ts'
import { FakeSocket } from './fakeSocket.ts'
import { welcome } from './hostileServer.ts'
import { bodyOf, idOf } from './messageClient.ts'
import { turn } from './turn.ts'
import { VirtualClock } from './virtualClock.ts'

/** A decoded frame of the client. */
export interface Asked<K extends EventName = EventName> {
  readonly message: WireMessage<K>
  readonly frame: Frame
}

/** Makes a NACK of this code. */
export function nackOf<K extends NackName>(event: K, code: ErrorCode, more: object = {}): WireMessage<K> {
  return {
    event,
    code: numberOf(code),
    retryAfter: 0,
    text: code,
    ...more,
  } as unknown as WireMessage<K>
}

/** Returns `promise`, whose rejection counts as handled. */
export function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

type MoreOfDelivery = Partial<WireMessage<'DeliverMsgReq'>['messages'][number]> & {
  readonly attempt?: number
  readonly content?: string | Uint8Array
}

/** Makes a delivery of one message, whose id contains its seq. */
export function delivery(
  mailboxSeq: number,
  { attempt = 1, content = `${mailboxSeq}`, ...more }: MoreOfDelivery = {},
): WireMessage<'DeliverMsgReq'> {
  const body = bodyOf(content)
  const message = { messageId: idOf(mailboxSeq), mailboxSeq, sender: 'bob', sentAt: 1_000, body, ...more }
  return { event: 'DeliverMsgReq', attempt, messages: [message] }
}

/** Makes a delivery of several messages. */
export function deliveryOf(seqs: readonly number[], attempt = 1): WireMessage<'DeliverMsgReq'> {
  return { event: 'DeliverMsgReq', attempt, messages: seqs.flatMap((seq) => delivery(seq).messages) }
}

/** One link, on which the spec plays the server. */
export class ScriptedLink {
  readonly socket: FakeSocket
  /** The login data of the client. */
  token = ''
  #read = 0
  #seq = 0

  constructor(reliable: boolean) {
    this.socket = new FakeSocket({ reliable })
  }

  /** Resolves with the next frame of the client, which must be this event. */
  async expect<K extends EventName>(event: K): Promise<Asked<K>> {
    for (let turns = 0; this.#read === this.socket.sent.length; turns++) {
      assert.ok(turns < 50, `expected ${event}, received nothing`)
      await turn()
    }
    const frame = this.socket.sent[this.#read++] as Frame
    const message = decode(frame)
    assert.equal(message.event, event)
    return { message: message as WireMessage<K>, frame }
  }

  /** Fails if the client has sent another frame. */
  async quiet(): Promise<void> {
    for (let turns = 0; turns < 5; turns++) await turn()
    assert.deepEqual(
      this.socket.sent.slice(this.#read).map((frame) => decode(frame).event),
      [],
    )
  }

  reply(to: Asked, message: WireMessage): void {
    this.socket.hear(message, to.frame.seq, to.frame.instance)
  }

  /** Sends a REQ, by default with the next seq; returns its seq. */
  ask(message: WireMessage<RequestName>, seq: number = ++this.#seq): number {
    this.socket.hear(message, seq)
    return seq
  }

  /** Reserves the next seq for a REQ that is sent later. */
  skip(): number {
    return ++this.#seq
  }

  say(message: WireMessage): void {
    this.socket.hear(message, 0)
  }

  /** Sends the whole list, or changes: `+bob` and `-bob`. The node of a user is its index in `users`. */
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

  /** Acknowledges messages with this status for all recipients. */
  acknowledge(asked: Asked<'PostMsgReq'>, status = 0): void {
    const statuses = asked.message.messages.map(({ recipients }) => recipients.map(() => status))
    this.reply(asked, { event: 'PostMsgAck', statuses, refused: [] })
  }

  /** Refuses all messages of a REQ, each with this code. */
  refuse(asked: Asked<'PostMsgReq'>, code: ErrorCode, more: object = {}): void {
    const refusal = { code: numberOf(code), retryAfter: 0, text: code, recipients: [], ...more }
    const refused = asked.message.messages.map((_, message) => ({ message, ...refusal }))
    this.reply(asked, { event: 'PostMsgAck', statuses: refused.map(() => []), refused })
  }

  /** Resolves when the client has ended the link by GOODBYE with this code. */
  async dismissed(code: ErrorCode): Promise<void> {
    for (let turns = 0; turns < 10; turns++) await turn()
    const { last } = this.socket
    assert.ok(last, 'the link was not ended')
    assert.equal((decode(last) as WireMessage<'GoodbyeNtf'>).code, numberOf(code))
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

/** Returns the fields of a list. */
export function listOf(listVersion: number, words: readonly string[], kind: keyof typeof rosterKind = 'whole') {
  const members = words.map((word) => ({
    change: word.startsWith('-') ? rosterChange.gone : rosterChange.here,
    node: nodeOf(word.slice(1)),
    userName: word.slice(1),
  }))
  return { listVersion, kind: rosterKind[kind], members }
}

/** A server played by the spec, without a network, on a manual clock. */
export class ScriptedServer implements AsyncDisposable {
  readonly clock = new VirtualClock()
  readonly log: LogEntry[] = []
  readonly links: ScriptedLink[] = []
  /** The answer to HELLO. */
  welcome: WireMessage<'HelloAck'> = { ...welcome, messageIdFor: 100 }
  readonly #reliable: boolean
  readonly #clients: Client[] = []
  #taken = 0

  constructor({ reliable = true } = {}) {
    this.#reliable = reliable
  }

  readonly transport: Transport = {
    listen: () => Promise.reject(new Error('this transport cannot listen')),
    dial: async () => {
      const link = new ScriptedLink(this.#reliable)
      this.links.push(link)
      return link.socket
    },
  }

  /** Creates a client that reconnects immediately. */
  client(options: Partial<BoundClientOptions> = {}): Client {
    const { clock } = this
    const real = nodePlatform()
    const platform = { ...real, clock, random: { ...real.random, fraction: () => 0 } }
    const log = (entry: LogEntry) => this.log.push(entry)
    const client = new RunningClient({ to: this.transport, user: 'alice', platform, software: 'spec', log, ...options })
    this.#clients.push(client)
    return client
  }

  /** Resolves with the next link, on which HELLO was answered. */
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

  /** Resolves with the next link, registered with these flags. */
  async registered(flags = 0, granted: Parameters<ScriptedLink['register']>[1] = {}): Promise<ScriptedLink> {
    const link = await this.link()
    await link.register(flags, granted)
    return link
  }

  /** Resolves with the next link of a listening client. */
  listening(granted: Parameters<ScriptedLink['register']>[1] = {}): Promise<ScriptedLink> {
    return this.registered(registFlags.listening, granted)
  }

  /** Lets `ms` pass, and waits for the consequences. */
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
