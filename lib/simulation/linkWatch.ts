import type { Frame } from '../wire/frame.ts'
import { decode, type Message } from '../wire/message.ts'
import { events } from '../wire/protocol.ts'
import type { Link } from './network.ts'
import type { World } from './world.ts'

/** A message that was delivered on a link. */
interface Delivered {
  readonly bytes: number
  answered: boolean
}

/** What was delivered on a link, from the oldest unanswered message on. */
class Deliveries {
  /** By place in the mailbox. */
  readonly #messages = new Map<number, Delivered>()
  /** By the seq of the REQ, the place of its message. */
  readonly #requests = new Map<number, number>()

  /** A REQ that came before says nothing. */
  take(request: number, place: number, bytes: number): void {
    if (this.#requests.has(request)) return
    this.#requests.set(request, place)
    this.#messages.set(place, { bytes, answered: false })
  }

  answered(request: number): void {
    const message = this.#messages.get(this.#requests.get(request) ?? 0)
    if (message) message.answered = true
    for (const [place, { answered }] of this.#inOrder) {
      if (!answered) return
      this.#messages.delete(place)
    }
  }

  get count(): number {
    return this.#messages.size
  }

  /** Of all but the last one. */
  get bytes(): number {
    return this.#inOrder.slice(0, -1).reduce((sum, [, { bytes }]) => sum + bytes, 0)
  }

  get #inOrder(): readonly [number, Delivered][] {
    return [...this.#messages].sort(([a], [b]) => a - b)
  }
}

/** Looks at what arrives at both ends of the links of a world: at deliveries, and at who holds which instance. */
export class LinkWatch {
  readonly #world: World
  /** Of a link, the MsgApp instance that it was granted. */
  readonly #instances = new Map<Link, number>()

  constructor(world: World) {
    this.#world = world
  }

  watch(link: Link): void {
    const { client, server } = link
    const { heard: byClient } = client
    const { heard: byServer } = server
    const deliveries = new Deliveries()
    client.heard = (frame) => {
      if (frame.event === events.DeliverMsgReq.number) this.#delivered(deliveries, frame)
      if (frame.event === events.RegistAck.number) this.#granted(link, decode(frame) as Message<'RegistAck'>)
      return byClient(frame)
    }
    server.heard = (frame) => {
      const { DeliverMsgAck, DeliverMsgNack } = events
      if (frame.event === DeliverMsgAck.number || frame.event === DeliverMsgNack.number) deliveries.answered(frame.seq)
      return byServer(frame)
    }
  }

  /** No more are under way than the window has, counted from the oldest unanswered one; the last may exceed its bytes. */
  #delivered(deliveries: Deliveries, frame: Frame): void {
    const { mailboxSeq, content } = decode(frame) as Message<'DeliverMsgReq'>
    const { deliveryWindow, deliveryBytes } = this.#world.limits
    deliveries.take(frame.seq, mailboxSeq, content.length)
    const { count, bytes } = deliveries
    if (count > deliveryWindow) this.#world.fail(`${count} deliveries are under way on a link`)
    if (count > 1 && bytes >= deliveryBytes)
      this.#world.fail(`deliveries of ${bytes} bytes, and one more, are under way`)
  }

  /** An instance has one holder: whoever had it before hears nothing on its link any more. */
  #granted(link: Link, { instance }: Message<'RegistAck'>): void {
    if (instance < 1 || instance > this.#world.limits.clients) this.#world.fail(`instance ${instance} is granted`)
    this.#instances.set(link, instance)
    if (link.server.over) return
    for (const [other, held] of this.#instances) {
      if (!this.#world.network.links.has(other)) this.#instances.delete(other)
      else if (other !== link && held === instance && !other.server.over) {
        this.#world.fail(`two links hold instance ${instance}`)
      }
    }
  }
}
