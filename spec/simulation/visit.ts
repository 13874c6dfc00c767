import { RunningClient } from '../../lib/client/runningClient.ts'
import { fixed, type Limits } from '../../lib/limits.ts'
import type { Socket } from '../../lib/ports/socket.ts'
import { encode, type RequestName, type WireMessage } from '../../lib/wire/message.ts'
import { apps, events, version } from '../../lib/wire/protocol.ts'
import type { Bounds } from './bounds.ts'
import type { SimulatedNetwork } from './network.ts'
import { type Machine, SimulatedProcess } from './process.ts'
import type { Visitor } from './program.ts'
import type { Tokens } from './tokens.ts'
import type { Trace } from './trace.ts'

/** A link that follows only the rules of frames: requests are sent regardless of the replies. */
class RawLink {
  readonly #socket: Socket
  readonly #welcomed: () => void
  #seq = 0
  #message: WireMessage<RequestName> | undefined
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
  ask(message: WireMessage<RequestName>, times = 1): void {
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

/** The parts of a world that a visiting client uses, and its checks. */
export interface VisitParts {
  readonly trace: Trace
  readonly machine: Machine
  readonly network: SimulatedNetwork
  readonly tokens: Tokens
  readonly limits: Limits
  readonly bounds: Bounds
  readonly visitors: Set<Visitor>
}

/** The visiting user, who owns no checked files or messages. */
const user = 'mallory'

/** Maximum duration of a visit by a client that sends requests or nothing, and of one that only sends messages. */
const stayMs = 60_000
const sendMs = 1

/** A client in its own process that ignores all limits, until it ends. */
export class Visit implements Visitor {
  readonly process: SimulatedProcess
  readonly unruly = true
  readonly client = { close: async () => this.#end() }
  running: Visitor['running']
  gone = false
  readonly #parts: VisitParts
  /** The open links. */
  readonly #dialled = new Set<AbortController>()

  constructor(parts: VisitParts, name: string) {
    this.#parts = parts
    this.process = new SimulatedProcess(name, parts.machine)
    parts.visitors.add(this)
  }

  /** Dials `count` times, and sends HELLO if `use` is given, which can then use the link. */
  dial(times: number, use?: (link: RawLink, pause: () => void) => void): void {
    this.process.within(stayMs, () => this.#end())
    for (let n = 0; n < times; n++) this.#dial(use)
  }

  /** Sends `count` messages of this many bytes by a client that never comes online, and closes it. */
  send(messages: number, bytes: number): void {
    const { process } = this
    const client = new RunningClient({
      to: this.#parts.network.transportOf(process),
      user,
      token: () => new Promise<string>(() => {}),
      platform: process.platform,
      software: 'simulation',
    })
    this.running = { process, client }
    const content = new Uint8Array(bytes)
    for (let n = 0; n < messages; n++) client.send([user], content).catch(() => {})
    process.within(sendMs, () => {
      client.close().then(
        () => this.leave(),
        (error: unknown) => this.#parts.trace.fail(`${process.name} could not end: ${error}`),
      )
    })
  }

  /** Whether nothing is left to do. */
  leave(): void {
    if (!this.process.alive || this.gone) return
    this.#parts.bounds.ended(this.process)
    this.gone = true
  }

  #dial(use?: (link: RawLink, pause: () => void) => void): void {
    const { platform } = this.process
    const ending = new AbortController()
    this.#dialled.add(ending)
    const over = () => {
      this.#dialled.delete(ending)
      if (this.#dialled.size === 0) this.leave()
    }
    const dialled = (socket: Socket) => {
      ending.signal.addEventListener('abort', () => socket.destroy())
      const link = new RawLink(socket, () => use?.(link, () => socket.pause()), over)
      if (use) this.#greet(link)
    }
    const options = { platform, maxPayload: fixed.clientFrameBytes }
    this.#parts.network.transportOf(this.process).dial(options, ending.signal).then(dialled, over)
  }

  #greet(link: RawLink): void {
    const session = this.process.platform.random.bytes(16, 'session')
    const who = { userName: user, token: this.#parts.tokens.said(user), session, software: 'simulation' }
    link.ask({ event: 'HelloReq', versions: [version], ...who, features: 0, attempt: undefined })
  }

  #end(): void {
    for (const ending of this.#dialled) ending.abort()
  }
}
