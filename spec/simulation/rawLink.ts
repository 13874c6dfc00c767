import type { Socket } from '../../lib/ports/socket.ts'
import { encode, type Message, type RequestName } from '../../lib/wire/message.ts'
import { apps, events, version } from '../../lib/wire/protocol.ts'

/** A link that follows only the rules of frames: requests are sent regardless of the replies. */
export class RawLink {
  readonly #socket: Socket
  readonly #welcomed: () => void
  #seq = 0
  #message: Message<RequestName> | undefined
  #left = 0

  /** `welcomed` is called when HELLO_REQ was answered, and `closed` once when the link has ended. */
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

  /** Sends this request `count` times, as fast as the socket accepts it. */
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
