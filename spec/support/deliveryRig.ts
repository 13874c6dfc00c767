import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import type { OspError } from '../../lib/errors.ts'
import type { Limits } from '../../lib/limits.ts'
import { limitsWith } from '../../lib/limits.ts'
import type { Asked } from '../../lib/runtime/linkDriverOptions.ts'
import type { Connection, ServerContext } from '../../lib/server/app.ts'
import { DeliveryService } from '../../lib/server/messages/deliveryService.ts'
import type { Message, RequestName } from '../../lib/wire/message.ts'
import { idOf, textOf, WallClock } from './messageClient.ts'
import { heldPlatform } from './serverRig.ts'
import { stepped } from './steppedStorage.ts'
import { turn } from './turn.ts'

/** A delivery, or a repetition, that was passed to a socket. */
export interface Handed {
  readonly message: Message<'DeliverMsgReq'>
  readonly seq: number
  /** Accepts the frame on behalf of the socket. */
  left(): void
  answer(): void
}

/** A recipient whose socket accepts frames under the control of the spec. */
export class Recipient implements Connection {
  readonly session = ''
  readonly reliable = true
  readonly node = 1
  readonly from = 'spec'
  readonly user: string
  open = true
  /** Whether its socket accepts everything immediately. */
  takes = false
  /** Called within `ask`. */
  asked: () => void = () => {}
  /** Deliveries and repetitions, in order. */
  readonly handed: Handed[] = []
  readonly #order: string[]

  constructor(user: string, order: string[]) {
    this.user = user
    this.#order = order
  }

  reply(): void {}
  notify(): void {}

  ask<K extends RequestName>(request: Message<K>, left: () => void = () => {}): Asked<K> {
    const message = request as Message as Message<'DeliverMsgReq'>
    const seq = this.handed.length + 1
    this.asked()
    const reply = new Promise<Message>((resolve) => {
      this.#hand({
        message,
        seq,
        left,
        answer: () => resolve({ event: 'DeliverMsgAck', mailboxSeq: message.mailboxSeq }),
      })
    })
    return { seq, reply: reply as Asked<K>['reply'] }
  }

  repeat(seq: number, request: Message<RequestName>, left: () => void = () => {}): boolean {
    this.#hand({ message: request as Message<'DeliverMsgReq'>, seq, left, answer: () => {} })
    return true
  }

  async close(_why: OspError): Promise<void> {
    this.open = false
  }

  #hand(handed: Handed): void {
    this.handed.push(handed)
    this.#order.push(`${this.user} ${textOf(handed.message.content).slice(0, 1)}`)
    if (this.takes) handed.left()
  }
}

/** A delivery service on a manual clock. */
export async function deliveryRig(limits: Partial<Limits> = {}) {
  const clock = new WallClock()
  const platform = { ...heldPlatform(), clock }
  const storage = memory()
  await storage.open(platform)
  const { mailboxes } = stepped(storage, (_, run) => run())
  const reads: { bytes: number; go: () => void }[] = []
  const state = { holdsReads: false }
  const read: typeof mailboxes.read = async (...args) => {
    if (state.holdsReads) await new Promise<void>((go) => reads.push({ bytes: args[3], go }))
    return mailboxes.read(...args)
  }
  const context: ServerContext = {
    platform,
    storage: { ...storage, mailboxes: { ...mailboxes, read } },
    limits: limitsWith(limits),
    onConflict: 'replace',
    log: () => {},
    age: clock,
  }
  const room = new DeliveryService(context, { messageReserveBytes: 0 })
  await room.open()
  /** The deliveries and their recipients, in order. */
  const order: string[] = []
  let id = 0
  return {
    room,
    clock,
    order,
    reads,
    state,
    async post(users: readonly string[], content: string | Uint8Array): Promise<void> {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
      await room.post({ sender: 'sender', id: idOf(++id), content: bytes }, users)
    },
    async listen(user: string, how: Partial<Pick<Recipient, 'takes' | 'asked'>> = {}): Promise<Recipient> {
      const recipient = Object.assign(new Recipient(user, order), how)
      room.deliver(recipient)
      await turn()
      return recipient
    },
  }
}
