import assert from 'node:assert/strict'
import type { ErrorCode } from '../../lib/errors.ts'
import { codeOf } from '../../lib/errors.ts'
import type { Limits } from '../../lib/limits.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { type Attributes, decodeBody, encodeBody } from '../../lib/wire/messageBody.ts'
import { deliveryStatus, registFlags, rosterChange, rosterKind } from '../../lib/wire/protocol.ts'
import type { Greeting, RawClient } from './rawClient.ts'
import { manualPlatform, ServerRig } from './serverRig.ts'
import { turn } from './turn.ts'
import { VirtualClock } from './virtualClock.ts'

/** A delivered message, with the seq of its REQ and the attempt. */
export type Delivered = WireMessage<'DeliverMsgReq'>['messages'][number] & {
  readonly content: Uint8Array
  readonly attempt: number
  readonly seqOfReq: number
}

/** The refusal of a message. */
export type Refused = WireMessage<'PostMsgAck'>['refused'][number]

/** Makes the fields of a POST_MSG_REQ with one message. */
export const posting = (messageId: Uint8Array, recipients: readonly string[], content: string | Uint8Array) => ({
  messages: [{ messageId, recipients, body: bodyOf(content) }],
})

/** A recognizable message id. */
export function idOf(number: number): Uint8Array {
  const id = new Uint8Array(16)
  new DataView(id.buffer).setUint32(12, number)
  return id
}

export const textOf = (content: Uint8Array) => new TextDecoder().decode(content)
/** Returns the body of a message without other parts. */
export const bodyOf = (content: string | Uint8Array) => encodeBody({}, bytesOf(content))
const bytesOf = (content: string | Uint8Array) =>
  typeof content === 'string' ? new TextEncoder().encode(content) : content

/** A member or change of a list as a word: `+alice` is here, `-alice` is gone. */
export const words = ({ members }: WireMessage<'RegistListNtf' | 'ListAck'>) =>
  members.map(({ change, userName }) => `${change === rosterChange.here ? '+' : '-'}${userName}`)

/** The requests about messages, one method each; each resolves with the reply, which must come next. */
export class MessageClient {
  readonly raw: RawClient
  readonly node: number
  readonly user: string
  /** The name of the device for which it registers. */
  device = ''
  /** The instance in the latest REGIST_ACK. */
  instance = 0
  /** The recipients of each post, by the seq of its REQ. */
  readonly #posted = new Map<number, readonly string[]>()
  /** Delivered messages that were not returned yet. */
  readonly #delivered: Delivered[] = []
  /** The messages of each delivery, by the seq of its REQ. */
  readonly #open = new Map<number, WireMessage<'DeliverMsgReq'>['messages']>()

  private constructor(raw: RawClient, node: number, user: string) {
    this.raw = raw
    this.node = node
    this.user = user
  }

  /** Connects a client that has logged in, and has not registered. */
  static async enter(rig: Pick<ServerRig, 'dial'>, user = 'alice', greeting: Greeting = {}): Promise<MessageClient> {
    const raw = await rig.dial()
    raw.hello({ user, session: `${user}'s`, ...greeting })
    return new MessageClient(raw, (await raw.expect('HelloAck')).node, user)
  }

  /** Connects a client that has registered as listening. */
  static async listen(rig: Pick<ServerRig, 'dial'>, user = 'alice', greeting: Greeting = {}): Promise<MessageClient> {
    const client = await MessageClient.enter(rig, user, greeting)
    await client.regist()
    return client
  }

  /** Connects a client that has registered as listening for a device. */
  static async listenAs(rig: Pick<ServerRig, 'dial'>, user: string, device: string): Promise<MessageClient> {
    const client = await MessageClient.enter(rig, user, { session: `${user}'s ${device}` })
    client.device = device
    await client.regist()
    return client
  }

  sendRegist(flags: number = registFlags.listening, userName = this.user): number {
    return this.raw.send('RegistReq', { userName, flags, ...(this.device === '' ? {} : { device: this.device }) })
  }

  /** Resolves with the ACK and the whole list, which follows immediately. */
  async regist(
    flags: number = registFlags.listening,
  ): Promise<{ ack: WireMessage<'RegistAck'>; list: WireMessage<'RegistListNtf'> }> {
    this.sendRegist(flags)
    const ack = await this.#upTo('RegistAck')
    const list = await this.raw.expect('RegistListNtf')
    assert.equal(list.kind, rosterKind.whole)
    this.instance = ack.instance
    return { ack, list }
  }

  async registRefused(
    code: ErrorCode,
    flags: number = registFlags.listening,
    userName = this.user,
  ): Promise<WireMessage<'RegistNack'>> {
    this.sendRegist(flags, userName)
    return this.raw.refused('RegistNack', code)
  }

  /** Requests the whole list. */
  list(): Promise<WireMessage<'ListAck'>> {
    this.raw.send('ListReq', {})
    return this.#upTo('ListAck')
  }

  /** Resolves with the version up to which the server says that it has sent the list. */
  async toldVersion(): Promise<number | undefined> {
    this.raw.send('PingReq', {})
    return (await this.#upTo('PingAck')).listVersion
  }

  sendPost(number: number, recipients: readonly string[], content: string | Uint8Array, at = this.instance): number {
    const seq = this.raw.send('PostMsgReq', posting(idOf(number), recipients, content), at)
    this.#posted.set(seq, recipients)
    return seq
  }

  /** The statuses in the ACK of a post: `bob online`, `bob stored`, `bob unseen`, each once. */
  async posted(): Promise<string[]> {
    const { statuses, refused } = await this.#upTo('PostMsgAck')
    assert.deepEqual(refused, [])
    const recipients = this.#posted.get(this.raw.last?.seq ?? 0) ?? []
    const words = new Map<number, string>(Object.entries(deliveryStatus).map(([word, status]) => [status, word]))
    return [...new Set(recipients.map((recipient, at) => `${recipient} ${words.get(statuses[0]?.[at] ?? -1)}`))]
  }

  post(number: number, recipients: readonly string[], content: string | Uint8Array): Promise<string[]> {
    this.sendPost(number, recipients, content)
    return this.posted()
  }

  /** Posts a text with other parts. */
  postWith(attributes: Attributes, number: number, recipients: readonly string[], text: string): Promise<string[]> {
    const message = { messageId: idOf(number), recipients, body: encodeBody(attributes, bytesOf(text)) }
    this.#posted.set(this.raw.send('PostMsgReq', { messages: [message] }, this.instance), recipients)
    return this.posted()
  }

  async postRefused(
    number: number,
    recipients: readonly string[],
    content: string | Uint8Array,
    code: ErrorCode,
  ): Promise<Refused> {
    this.sendPost(number, recipients, content)
    return this.refused(code)
  }

  /** Posts a message in a REQ that is refused as a whole. */
  async postNacked(
    number: number,
    recipients: readonly string[],
    content: string | Uint8Array,
    code: ErrorCode,
    at = this.instance,
  ): Promise<void> {
    this.sendPost(number, recipients, content, at)
    await this.raw.refused('PostMsgNack', code)
  }

  /** Resolves with the refusal of a message that was posted alone. */
  async refused(code: ErrorCode): Promise<Refused> {
    const { statuses, refused } = await this.#upTo('PostMsgAck')
    const [refusal] = refused
    assert.ok(refusal, `${code} was expected, and the message was stored`)
    assert.deepEqual([statuses, codeOf(refusal.code), refusal.message], [[[]], code, 0])
    return refusal
  }

  /** Resolves with the next delivered message; changes of the list are skipped. */
  async delivery(): Promise<Delivered> {
    const waiting = this.#delivered.shift()
    if (waiting) return waiting
    this.#arrived(await this.#upTo('DeliverMsgReq'))
    return this.#delivered.shift() as Delivered
  }

  /** Keeps the messages of the delivery that was read last. */
  #arrived({ messages, attempt }: WireMessage<'DeliverMsgReq'>): void {
    const seqOfReq = this.raw.last?.seq ?? 0
    if (!this.#open.has(seqOfReq)) this.#open.set(seqOfReq, messages)
    this.#delivered.push(
      ...messages.map((message) => ({ ...message, content: decodeBody(message.body).content, attempt, seqOfReq })),
    )
  }

  async deliveries(count: number): Promise<Delivered[]> {
    const all: Delivered[] = []
    while (all.length < count) all.push(await this.delivery())
    return all
  }

  /**
   * Reports messages as handled, or acknowledges their REQ if they are its last ones, and waits until the consequences have
   * happened.
   */
  async take(...deliveries: readonly Delivered[]): Promise<void> {
    for (const { mailboxSeq, seqOfReq: seq } of deliveries) {
      const last = this.#open.get(seq)?.at(-1)?.mailboxSeq ?? 0
      if (mailboxSeq < last) this.raw.send('DeliverMsgNtf', { mailboxSeq })
      else this.raw.send('DeliverMsgAck', { mailboxSeq, rejected: [] }, 0, { seq })
    }
    await turn()
  }

  /** Rejects a message permanently that is the only or last one of its REQ. */
  async reject({ mailboxSeq, seqOfReq: seq }: Delivered, text = 'the handler throws'): Promise<void> {
    this.raw.send('DeliverMsgAck', { mailboxSeq, rejected: [{ mailboxSeq, text }] }, 0, { seq })
    await turn()
  }

  /** Returns all frames that have arrived and were not requested, except those about the list and the link. */
  get unread(): string[] {
    const waiting = this.#delivered.map(() => 'a message')
    return [...waiting, ...this.raw.unread.filter((event) => !passedOver.has(event))]
  }

  /** Resolves when the link ends, after a GOODBYE of this code; changes of the list are skipped. */
  async dismissed(code: ErrorCode): Promise<void> {
    const goodbye = await this.#upTo('GoodbyeNtf')
    assert.equal(codeOf(goodbye.code), code, goodbye.text)
    await this.raw.closed
  }

  vanish(): Promise<void> {
    return this.raw.vanish().then(turn)
  }

  async #upTo<K extends 'RegistAck' | 'ListAck' | 'PingAck' | 'PostMsgAck' | 'DeliverMsgReq' | 'GoodbyeNtf'>(
    event: K,
  ): Promise<WireMessage<K>> {
    for (;;) {
      const message = await this.raw.next()
      if (passedOver.has(message.event) || message.event === 'ReceiptsNtf') continue
      // A sender that is its own recipient gets both in any order.
      if (message.event === 'DeliverMsgReq' && event === 'PostMsgAck') {
        this.#arrived(message)
        continue
      }
      const text = 'text' in message ? `: ${message.text}` : ''
      assert.equal(message.event, event, `expected ${event}, received ${message.event}${text}`)
      return message as WireMessage<K>
    }
  }
}

const passedOver: ReadonlySet<string> = new Set(['RegistListNtf', 'PingReq'])

/** A manual clock, whose wall time can be set wrong. */
export class WallClock extends VirtualClock {
  aheadMs = 0

  constructor() {
    super(1_700_000_000_000)
  }

  override wallTime(): number {
    return super.wallTime() + this.aheadMs
  }
}

/** Starts a server on a manual clock. */
export async function heldRig(
  limits: Partial<Limits> = {},
  options: Parameters<typeof ServerRig.start>[1] = {},
): Promise<ServerRig & { readonly clock: WallClock }> {
  const clock = new WallClock()
  const rig = await ServerRig.start(limits, { ...options, platform: { ...manualPlatform(), clock } })
  return Object.assign(rig, { clock })
}
