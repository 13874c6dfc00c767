import { OspError } from '../../lib/errors.ts'
import type { Address, Listener, Socket, Transport } from '../../lib/ports/socket.ts'
import type { SeededRandom } from '../../lib/testing/random.ts'
import { type OwnLayers, unveil } from './layers.ts'
import type { Machine, SimulatedProcess } from './process.ts'
import { asSent, type Heard, SimulatedSocket } from './socket.ts'

/** How a network treats what it carries. */
export interface NetworkFaults {
  /** Frames arrive all, once and in order, or the link breaks. */
  readonly reliable: boolean
  /** Each direction of each link has one of these. */
  readonly mostDelaysMs: readonly number[]
  /** How fast each direction of a link takes what is sent. */
  readonly bytesPerMs: number
  /** Probabilities, of frames on links that are not reliable. */
  readonly loss: number
  readonly duplication: number
  /** Probability of a frame that takes so many times as long; on a reliable link the later ones wait for it. */
  readonly straying: number
  readonly strayFactor: number
}

/** The longest time after which a system retransmits. */
const mostRepeatMs = 10_000

const address: Address = { host: 'server', port: 1, local: true }

/** A network with one address to listen at. Links can be cut, and processes cut off. */
export class SimulatedNetwork {
  readonly machine: Machine
  readonly random: SeededRandom
  readonly links = new Set<Link>()
  faults: NetworkFaults
  layers: OwnLayers = {}
  /** Nothing passes while it is set. */
  down = false
  /** Until then connections succeed, but nothing sent on them arrives. */
  stalledUntilMs = 0
  /** Is told of each link before anything passes. */
  opened: (link: Link) => void = () => {}
  #accept: ((socket: Socket) => void) | undefined
  #listening: SimulatedProcess | undefined
  /** Connected links that the listener has not received yet. */
  readonly #unaccepted = new Set<SimulatedSocket>()

  constructor(machine: Machine, faults: NetworkFaults) {
    this.machine = machine
    this.random = machine.random.fork('network')
    this.faults = faults
  }

  /** The network as a process sees it. */
  transportOf(process: SimulatedProcess, heard: Heard = asSent): Transport {
    const transport: Transport = {
      listen: async () => this.#listen(process),
      dial: (_options, signal) => this.#dial(process, heard, signal),
    }
    return this.layers.transport?.(transport) ?? transport
  }

  /** Breaks links, without the processes at their ends knowing at once. */
  cut(chosen: (link: Link) => boolean): void {
    for (const link of this.links) if (chosen(link)) link.break()
  }

  /** Nothing passes in one direction of these links for so long. */
  mute(chosen: (link: Link) => boolean, from: 'client' | 'server', ms: number): void {
    const untilMs = this.machine.time.now() + ms
    for (const link of this.links) if (chosen(link)) link[from].muteUntilMs = Math.max(link[from].muteUntilMs, untilMs)
  }

  /** Everything passes from now on, in its order and in time. */
  heal(): void {
    this.down = false
    this.stalledUntilMs = 0
    this.faults = { ...this.faults, loss: 0, duplication: 0, straying: 0 }
    for (const { client, server } of this.links) {
      client.muteUntilMs = 0
      server.muteUntilMs = 0
    }
  }

  /** How long a frame takes where most take no longer than `mostDelayMs`. */
  delayMs(mostDelayMs: number): number {
    const { random } = this
    const { straying, strayFactor } = this.faults
    const strays = straying > 0 && random.chance(straying, 'a frame strays')
    return random.fraction('delay') * mostDelayMs * (strays ? strayFactor : 1)
  }

  #listen(process: SimulatedProcess): Listener {
    const close = async () => {
      if (this.#listening !== process) return
      this.#accept = undefined
      for (const end of this.#unaccepted) end.destroy()
    }
    return {
      address,
      close,
      start: (accept) => {
        this.#listening = process
        this.#accept = accept
      },
      [Symbol.asyncDispose]: close,
    }
  }

  #dial(process: SimulatedProcess, heard: Heard, signal: AbortSignal): Promise<Socket> {
    const { time } = this.machine
    const mostDelayMs = this.random.pick(this.faults.mostDelaysMs, 'delay of a link')
    return new Promise((resolve, reject) => {
      const aborted = () => reject(new OspError('closed'))
      signal.addEventListener('abort', aborted, { once: true })
      if (signal.aborted) aborted()
      time.alarm(time.now() + 2 * this.delayMs(mostDelayMs), () => {
        // What is lost on its way is answered by nobody, until the caller gives up.
        if (this.down && process.alive) return
        signal.removeEventListener('abort', aborted)
        if (signal.aborted || !process.alive) return
        const server = this.#listening
        if (!this.#accept || !server?.alive) return reject(new OspError('unreachable', 'nobody listens'))
        const link = new Link(this, process, server)
        link.client.heard = heard
        this.links.add(link)
        this.opened(link)
        if (this.layers.plainFrame) unveil(link, this.layers.plainFrame)
        this.#admit(link, server, mostDelayMs)
        process.awake(() => resolve(link.client))
      })
    })
  }

  /** Passes the link to the listener: at once, or when the final packet of the handshake has arrived. */
  #admit(link: Link, server: SimulatedProcess, mostDelayMs: number): void {
    const { time } = this.machine
    const accept = () => {
      this.#unaccepted.delete(link.server)
      if (link.server.over || !server.alive) return
      const listening = this.#listening === server && this.#accept
      if (listening) server.awake(() => listening(link.server))
      else link.break()
    }
    if (this.stalledUntilMs <= time.now()) {
      accept()
      return
    }
    this.#unaccepted.add(link.server)
    // Links retransmit at different times, so that a later link can arrive first.
    const untilMs = this.stalledUntilMs + this.random.fraction('time until bytes are sent again') * mostRepeatMs
    for (const end of [link.client, link.server]) end.muteUntilMs = untilMs
    time.alarm(untilMs + this.delayMs(mostDelayMs), accept)
  }
}

/** Two sockets and what is between them. */
export class Link {
  readonly client: SimulatedSocket
  readonly server: SimulatedSocket
  readonly #network: SimulatedNetwork
  readonly clientProcess: SimulatedProcess
  readonly serverProcess: SimulatedProcess
  #broken = false

  constructor(network: SimulatedNetwork, client: SimulatedProcess, server: SimulatedProcess) {
    this.#network = network
    this.clientProcess = client
    this.serverProcess = server
    const { reliable } = network.faults
    this.client = new SimulatedSocket(network, client, this, reliable)
    this.server = new SimulatedSocket(network, server, this, reliable)
    this.client.other = this.server
    this.server.other = this.client
  }

  /** Whether one of its ends is this process. */
  of(process: SimulatedProcess): boolean {
    return process === this.clientProcess || process === this.serverProcess
  }

  /** The end that is this process's. */
  end(process: SimulatedProcess): SimulatedSocket | undefined {
    if (process === this.clientProcess) return this.client
    return process === this.serverProcess ? this.server : undefined
  }

  /** Nothing passes any more; each end learns of it after a while, or not before its keep-alive. */
  break(): void {
    if (this.#broken) return
    this.#broken = true
    this.#network.links.delete(this)
    const { random, machine } = this.#network
    const { time } = machine
    for (const end of [this.client, this.server]) {
      end.severed = true
      if (random.chance(0.5, 'an end does not learn that its link broke')) continue
      const afterMs = random.fraction('time until an end learns that its link broke') * 2_000
      time.alarm(time.now() + afterMs, () => end.lose(new OspError('link-lost', 'the network broke the link')))
    }
  }

  /** An end has closed in order. */
  ended(): void {
    this.#network.links.delete(this)
  }
}
