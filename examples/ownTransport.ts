// A custom transport adapter, tested by the suite of its port: `node ownTransport.ts`.
import { test } from 'node:test'
import type { Frame, Listener, Socket, SocketEvents, Transport } from 'ospd'
import { memoryTransport } from 'ospd/memory'
import { transportContract } from 'ospd/testing'

/** Stands in for a cipher: applied twice, it returns the original frame. */
const seal = (frame: Frame): Frame => ({
  ...frame,
  payload: frame.payload.map((part) => part.map((byte) => byte ^ 0x5a)),
})

/** A transport that encrypts payloads. */
function sealed(transport: Transport): Transport {
  return {
    listen: async (options) => sealedListener(await transport.listen(options)),
    dial: async (options, signal) => new SealedSocket(await transport.dial(options, signal)),
  }
}

function sealedListener(listener: Listener): Listener {
  const { address } = listener
  return {
    address,
    start: (accept) => listener.start((socket) => accept(new SealedSocket(socket))),
    close: () => listener.close(),
    [Symbol.asyncDispose]: () => listener.close(),
  }
}

class SealedSocket implements Socket {
  readonly reliable: boolean
  readonly guarded: boolean
  readonly peer: Socket['peer']
  readonly #below: Socket

  constructor(below: Socket) {
    this.reliable = below.reliable
    this.guarded = below.guarded
    this.peer = below.peer
    this.#below = below
  }

  get maxPayload(): number {
    return this.#below.maxPayload
  }

  set maxPayload(bytes: number) {
    this.#below.maxPayload = bytes
  }

  start(to: SocketEvents): void {
    this.#below.start({
      frame: (frame) => to.frame(seal(frame)),
      begun: (payloadBytes) => to.begun(payloadBytes),
      fault: (why) => to.fault(why),
      drained: () => to.drained(),
      closed: (why) => to.closed(why),
    })
  }

  send(frame: Frame, left?: () => void): boolean {
    return this.#below.send(seal(frame), left)
  }

  pause(): void {
    this.#below.pause()
  }

  resume(): void {
    this.#below.resume()
  }

  close(last?: Frame): Promise<void> {
    return this.#below.close(last && seal(last))
  }

  destroy(): void {
    this.#below.destroy()
  }
}

const ways = () => {
  const transport = sealed(memoryTransport())
  return { listening: transport, reaching: () => transport }
}
for (const { subject, name, run, limitMs } of transportContract('sealed', ways)) {
  test(`${subject} ${name}`, { timeout: limitMs }, run)
}
