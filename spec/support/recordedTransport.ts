import type { Socket, SocketEvents, Transport } from '../../lib/ports/socket.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { decode, type EventName } from '../../lib/wire/message.ts'

/** A transport that records the frames of dialled links, and can hold replies. */
export interface RecordedTransport extends Transport {
  /** The frames that a client has sent (`> PostFileReq`) and received (`< PostFileAck`), in order. */
  readonly steps: readonly string[]
  /** Replies of these events are held until `release`. */
  keepBack: ReadonlySet<EventName>
  /** Delivers the held replies. */
  release(): void
  /** Called after each frame that a client has sent. */
  sent: (event: EventName) => void
}

export function recordedTransport(transport: Transport): RecordedTransport {
  const steps: string[] = []
  let kept: (() => void)[] = []
  const self: RecordedTransport = {
    steps,
    keepBack: new Set(),
    sent: () => {},
    release() {
      const due = kept
      kept = []
      for (const hand of due) hand()
    },
    listen: (options) => transport.listen(options),
    async dial(options, signal) {
      const socket = await transport.dial(options, signal)
      const hear = ({ event }: { event: EventName }, hand: () => void) => {
        const heard = () => {
          steps.push(`< ${event}`)
          hand()
        }
        if (self.keepBack.has(event)) kept.push(heard)
        else heard()
      }
      return watched(socket, hear, (event) => {
        steps.push(`> ${event}`)
        self.sent(event)
      })
    },
  }
  return self
}

type Hear = (message: { event: EventName }, hand: () => void) => void

function watched(socket: Socket, hear: Hear, sent: (event: EventName) => void): Socket {
  const start = (to: SocketEvents) =>
    socket.start({
      frame: (frame) => hear(decode(frame), () => to.frame(frame)),
      begun: (payloadBytes) => to.begun(payloadBytes),
      fault: (why) => to.fault(why),
      drained: () => to.drained(),
      closed: (why) => to.closed(why),
    })
  const send = (frame: Frame, left?: () => void) => {
    const room = socket.send(frame, left)
    sent(decode(frame).event)
    return room
  }
  return new Proxy(socket, {
    get(target, key) {
      if (key === 'start') return start
      if (key === 'send') return send
      const value = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  })
}
