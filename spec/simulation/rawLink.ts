import type { Socket } from '../../lib/ports/socket.ts'
import { encode, type Message, type RequestName } from '../../lib/wire/message.ts'
import { apps, events, version } from '../../lib/wire/protocol.ts'

/** A link of somebody who keeps to no rule but those of frames: what is asked is sent, whatever was answered. */
export class RawLink {
  readonly #socket: Socket
  readonly #welcomed: () => void
  #seq = 0
  #message: Message<RequestName> | undefined
  #left = 0

  /** `welcomed` is told when HELLO_REQ was answered, and `closed` once when the link is over. */
  constructor(socket: Socket, welcomed: () => void, closed: () => void) {
    this.#socket = socket
    this.#welcomed = welcomed
    socket.start({
      frame: ({ event }) => event === events.HelloAck.number && this.#welcomed(),
      begun() {},
      fault() {},
      drained: () => this.#pump(),
      closed,
    })
  }

  /** Asks this so often, as fast as the socket takes it. */
  ask(message: Message<RequestName>, times = 1): void {
    this.#message = message
    this.#left = times
    this.#pump()
  }

  #pump(): void {
    const message = this.#message
    if (!message) return
    const { number: event, app } = events[message.event]
    const frame = { version, flags: 0, event, app: apps[app], instance: 0, payload: encode(message) }
    while (this.#left > 0) {
      this.#left--
      if (!this.#socket.send({ ...frame, seq: ++this.#seq })) return
    }
  }
}
