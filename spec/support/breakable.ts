import type { Socket, Transport } from '../../lib/ports/socket.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { events } from '../../lib/wire/protocol.ts'

/** A transport whose dialled links can be cut, and which counts content bytes. */
export interface Breakable extends Transport {
  /** Content bytes of the chunks that were passed to links. */
  contentBytes: number
  /** Number of dialled links. */
  dialled: number
  /** Called with each frame before it is sent. If it returns false, the link is cut instead. */
  inspect: (frame: Frame) => boolean
  /** Cuts every open link. */
  cut(): void
}

/** The bytes of the offset in front of a chunk's content. */
const offsetBytes = 8

export function breakable(transport: Transport): Breakable {
  const living = new Set<Socket>()
  const self: Breakable = {
    contentBytes: 0,
    dialled: 0,
    inspect: () => true,
    listen: (options) => transport.listen(options),
    async dial(options, signal) {
      const socket = await transport.dial(options, signal)
      self.dialled++
      living.add(socket)
      return new Proxy(socket, {
        get(target, key) {
          if (key !== 'send') {
            const value = Reflect.get(target, key, target)
            return typeof value === 'function' ? value.bind(target) : value
          }
          return (frame: Frame, left?: () => void) => {
            if (frame.event === events.PostFileReq.number) self.contentBytes += lengthOf(frame.payload) - offsetBytes
            if (self.inspect(frame)) return target.send(frame, left)
            target.destroy()
            return false
          }
        },
        set: (target, key, value) => Reflect.set(target, key, value, target),
      })
    },
    cut() {
      for (const socket of living) socket.destroy()
      living.clear()
    },
  }
  return self
}
