import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { fixed } from '../../lib/limits.ts'
import type { Socket, Transport } from '../../lib/ports/socket.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import { type Frame, headerBytes } from '../../lib/wire/frame.ts'
import { encode, type WireMessage } from '../../lib/wire/message.ts'
import { apps, events, rosterKind } from '../../lib/wire/protocol.ts'

const platform = nodePlatform()

/** A registered client that only counts frames, and tracks the versions of presence lists. */
export class BarePeer {
  readonly socket: Socket
  frames = 0
  bytes = 0
  /** The version of the latest list or change. */
  version = 0
  /** The version of the latest changes. */
  changed = 0
  #seq = 0
  #ended: Error | undefined
  #heard: () => void = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.start({
      frame: (frame) => this.#take(frame),
      begun: () => {},
      fault: (why) => {
        throw why
      },
      drained: () => {},
      closed: (why) => {
        this.#ended = why ?? new Error('the server closed the link')
        this.#heard()
      },
    })
  }

  /** Resolves when the client has registered and has received the whole list. */
  static async register(to: Transport, user: string, listening = true): Promise<BarePeer> {
    const socket = await to.dial({ platform, maxPayload: fixed.clientFrameBytes }, new AbortController().signal)
    const peer = new BarePeer(socket)
    const session = platform.random.bytes(16, 'session')
    peer.#send({
      event: 'HelloReq',
      versions: [1],
      userName: user,
      token: '',
      session,
      software: 'bare',
      features: 0,
      attempt: undefined,
    })
    await peer.until(() => peer.frames > 0)
    peer.#send({ event: 'RegistReq', userName: user, flags: listening ? 1 : 0 })
    await peer.until(() => peer.version > 0)
    return peer
  }

  /** Resolves when `holds` returns true; it is called after each frame. Rejects if the link ends before. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      if (this.#ended) throw this.#ended
      await new Promise<void>((resolve) => {
        this.#heard = resolve
      })
    }
  }

  #send(message: WireMessage): void {
    const { number, app } = events[message.event]
    const payload = encode(message)
    this.socket.send({
      version: 1,
      flags: 0,
      event: number,
      seq: ++this.#seq,
      app: apps[app],
      instance: 0,
      payload,
    })
  }

  #take({ event, payload }: Frame): void {
    this.frames++
    this.bytes += headerBytes + lengthOf(payload)
    if (event === events.RegistListNtf.number) {
      const [first] = payload
      if (!first) throw new Error('a list without a payload')
      this.version = new DataView(first.buffer, first.byteOffset).getUint32(0)
      if (first[4] === rosterKind.changes) this.changed = this.version
    }
    this.#heard()
  }
}

/** Registers `count` peers, `atOnce` at a time. */
export async function registerMany(to: Transport, count: number, atOnce = 50): Promise<BarePeer[]> {
  const peers: BarePeer[] = []
  while (peers.length < count) {
    const names = Array.from({ length: Math.min(atOnce, count - peers.length) }, (_, at) => `peer-${peers.length + at}`)
    peers.push(...(await Promise.all(names.map((name) => BarePeer.register(to, name)))))
  }
  return peers
}
