import assert from 'node:assert/strict'
import type { ErrorCode } from '../../lib/errors.ts'
import { numberOf } from '../../lib/errors.ts'
import type { Limits } from '../../lib/limits.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { deliveryStatus, registFlags, rosterChange, rosterKind } from '../../lib/wire/protocol.ts'
import type { Greeting, RawClient } from './rawClient.ts'
import { manualPlatform, ServerRig } from './serverRig.ts'
import { turn } from './turn.ts'
import { VirtualClock } from './virtualClock.ts'

/** A delivery, with the seq of its REQ. */
export type Delivered = WireMessage<'DeliverMsgReq'> & { readonly seqOfReq: number }

/** A recognizable message id. */
export function idOf(number: number): Uint8Array {
  const id = new Uint8Array(16)
  new DataView(id.buffer).setUint32(12, number)
  return id
}

export const textOf = (content: Uint8Array) => new TextDecoder().decode(content)
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
  /** The instance in the latest REGIST_ACK. */
  instance = 0

  private constructor(raw: RawClient, node: number, user: string) {
    this.raw = raw
    this.node = node
    this.user = user
  }

  /** Connects a client that has logged in, and has not registered. */
  static async enter(rig: ServerRig, user = 'alice', greeting: Greeting = {}): Promise<MessageClient> {
    const raw = await rig.dial()
    raw.hello({ user, session: `${user}'s`, ...greeting })
    return new MessageClient(raw, (await raw.expect('HelloAck')).node, user)
  }

  /** Connects a client that has registered as listening. */
  static async listen(rig: ServerRig, user = 'alice', greeting: Greeting = {}): Promise<MessageClient> {
    const client = await MessageClient.enter(rig, user, greeting)
    await client.regist()
    return client
  }

  sendRegist(flags: number = registFlags.listening, userName = this.user): number {
    return this.raw.send('RegistReq', { userName, flags })
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
    return this.raw.send('PostMsgReq', { messageId: idOf(number), recipients, content: bytesOf(content) }, at)
  }

  /** The statuses in the ACK: `bob online`, `bob stored`, `bob unseen`. */
  async posted(): Promise<string[]> {
    const { recipients } = await this.#upTo('PostMsgAck')
    const words = new Map<number, string>(Object.entries(deliveryStatus).map(([word, status]) => [status, word]))
    return recipients.map(({ recipient, status }) => `${recipient} ${words.get(status)}`)
  }

  post(number: number, recipients: readonly string[], content: string | Uint8Array): Promise<string[]> {
    this.sendPost(number, recipients, content)
    return this.posted()
  }

  async postRefused(
    number: number,
    recipients: readonly string[],
    content: string | Uint8Array,
    code: ErrorCode,
    at = this.instance,
  ): Promise<WireMessage<'PostMsgNack'>> {
    this.sendPost(number, recipients, content, at)
    return this.raw.refused('PostMsgNack', code)
  }

  /** Resolves with the next delivery; changes of the list are skipped. */
  async delivery(): Promise<Delivered> {
    const message = await this.#upTo('DeliverMsgReq')
    return { ...message, seqOfReq: this.raw.last?.seq ?? 0 }
  }

  async deliveries(count: number): Promise<Delivered[]> {
    const all: Delivered[] = []
    while (all.length < count) all.push(await this.delivery())
    return all
  }

  /** Acknowledges deliveries, and waits until the consequences have happened. */
  async take(...deliveries: readonly Delivered[]): Promise<void> {
    for (const { mailboxSeq, seqOfReq: seq } of deliveries) this.raw.send('DeliverMsgAck', { mailboxSeq }, 0, { seq })
    await turn()
  }

  /** Rejects a message permanently. */
  async giveUp({ seqOfReq: seq }: Delivered, text = 'the handler throws'): Promise<void> {
    this.raw.send('DeliverMsgNack', { code: numberOf('internal'), retryAfter: 0, text }, 0, { seq })
    await turn()
  }

  /** Returns all frames that have arrived and were not requested, except those about the list and the link. */
  get unread(): string[] {
    return this.raw.unread.filter((event) => !passedOver.has(event))
  }

  vanish(): Promise<void> {
    return this.raw.vanish().then(turn)
  }

  async #upTo<K extends 'RegistAck' | 'ListAck' | 'PingAck' | 'PostMsgAck' | 'DeliverMsgReq'>(
    event: K,
  ): Promise<WireMessage<K>> {
    for (;;) {
      const message = await this.raw.next()
      if (passedOver.has(message.event)) continue
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
