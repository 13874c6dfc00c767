import { OspError } from '../../lib/errors.ts'
import type { Address, Listener, Socket, Transport } from '../../lib/ports/socket.ts'
import type { SeededRandom } from '../support/random.ts'
import { type OwnLayers, showPlainFrames } from './layers.ts'
import type { Machine, SimulatedProcess } from './process.ts'
import { asSent, type Heard, SimulatedSocket } from './socket.ts'

/** The properties of a network. */
export interface NetworkFaults {
  /** Whether all frames arrive once and in order, or the link breaks. */
  readonly reliable: boolean
  /** Range of the delay; each direction of each link has its own. */
  readonly mostDelaysMs: readonly number[]
  /** Range of the rate of each direction of a link. */
  readonly bytesPerMs: number
  /** Probabilities for frames on unreliable links. */
  readonly loss: number
  readonly duplication: number
  /** Probability that a frame takes this many times as long; on a reliable link, later frames wait for it. */
  readonly straying: number
  readonly strayFactor: number
}

/** Maximum time after which a system retransmits. */
const mostRepeatMs = 10_000

const address: Address = { host: 'server', port: 1, local: true }

/** A network with one address to listen on, which several servers can share. Links can be cut, and processes cut off. */
export class SimulatedNetwork {
  readonly machine: Machine
  readonly random: SeededRandom
  readonly links = new Set<Link>()
  faults: NetworkFaults
  layers: OwnLayers = {}
  /** While set, nothing passes. */
  down = false
  /** Until this time connections succeed, but nothing sent on them arrives. */
  stalledUntilMs = 0
  /** Called with each link before anything passes. */
  opened: (link: Link) => void = () => {}
  /** Chooses the server of a new link among those that have listened: the latest, unless a balancer decides. */
  balance: (servers: readonly SimulatedProcess[]) => SimulatedProcess | undefined = (servers) => servers.at(-1)
  /** Servers that were killed stay until another one listens: a balancer may not know yet. */
  readonly #listening = new Map<SimulatedProcess, (socket: Socket) => void>()
  /** Connected links that their server has not received yet. */
  readonly #unaccepted = new Map<SimulatedSocket, SimulatedProcess>()

  constructor(machine: Machine, faults: NetworkFaults) {
    this.machine = machine
    this.random = machine.random.fork('network')
    this.faults = faults
  }

  /** Returns the network as a process sees it. */
  transportOf(process: SimulatedProcess, heard: Heard = asSent): Transport {
    const transport: Transport = {
      listen: async () => this.#listen(process),
      dial: (_options, signal) => this.#dial(process, heard, signal),
    }
    return this.layers.transport?.(transport) ?? transport
  }

  /** Breaks links; the processes at their ends notice it later. */
  cut(chosen: (link: Link) => boolean): void {
    for (const link of this.links) if (chosen(link)) link.break()
  }

  /** For this time, nothing passes in one direction of these links. */
  mute(chosen: (link: Link) => boolean, from: 'client' | 'server', ms: number): void {
    const untilMs = this.machine.time.now() + ms
    for (const link of this.links) if (chosen(link)) link[from].muteUntilMs = Math.max(link[from].muteUntilMs, untilMs)
  }

  /** From now on everything passes in order and in time. */
  heal(): void {
    this.down = false
    this.stalledUntilMs = 0
    this.faults = { ...this.faults, loss: 0, duplication: 0, straying: 0 }
    for (const { client, server } of this.links) {
      client.muteUntilMs = 0
      server.muteUntilMs = 0
    }
  }

  /** Returns the delay of a frame, if most frames take at most `mostDelayMs`. */
  delayMs(mostDelayMs: number): number {
    const { random } = this
    const { straying, strayFactor } = this.faults
    const strays = straying > 0 && random.chance(straying, 'a frame strays')
    return random.fraction('delay') * mostDelayMs * (strays ? strayFactor : 1)
  }

  #listen(process: SimulatedProcess): Listener {
    const close = async () => {
      if (!this.#listening.delete(process)) return
      for (const [end, server] of this.#unaccepted) if (server === process) end.destroy()
    }
    return {
      address,
      close,
      start: (accept) => {
        for (const server of this.#listening.keys()) if (!server.alive) this.#listening.delete(server)
        this.#listening.set(process, accept)
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
        // A lost SYN gets no answer until the caller gives up.
        if (this.down && process.alive) return
        signal.removeEventListener('abort', aborted)
        if (signal.aborted || !process.alive) return
        const server = this.balance([...this.#listening.keys()])
        if (!server?.alive) return reject(new OspError('unreachable', 'nothing is listening'))
        const link = new Link(this, process, server)
        link.client.heard = heard
        this.links.add(link)
        this.opened(link)
        if (this.layers.plainFrame) showPlainFrames(link, this.layers.plainFrame)
        this.#admit(link, server, mostDelayMs)
        process.awake(() => resolve(link.client))
      })
    })
  }

  /** Passes the link to the listener: immediately, or when the final packet of the handshake has arrived. */
  #admit(link: Link, server: SimulatedProcess, mostDelayMs: number): void {
    const { time } = this.machine
    const accept = () => {
      this.#unaccepted.delete(link.server)
      if (link.server.over || !server.alive) return
      const listening = this.#listening.get(server)
      if (listening) server.awake(() => listening(link.server))
      else link.break()
    }
    if (this.stalledUntilMs <= time.now()) {
      accept()
      return
    }
    this.#unaccepted.set(link.server, server)
    // Links retransmit at different times, so that a later link can arrive first.
    const untilMs = this.stalledUntilMs + this.random.fraction('time until bytes are sent again') * mostRepeatMs
    for (const end of [link.client, link.server]) end.muteUntilMs = untilMs
    time.alarm(untilMs + this.delayMs(mostDelayMs), accept)
  }
}

/** Two sockets and the connection between them. */
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

  /** Returns whether this process is at one of its ends. */
  of(process: SimulatedProcess): boolean {
    return process === this.clientProcess || process === this.serverProcess
  }

  /** Returns the end of this process. */
  end(process: SimulatedProcess): SimulatedSocket | undefined {
    if (process === this.clientProcess) return this.client
    return process === this.serverProcess ? this.server : undefined
  }

  /** From now on nothing passes; each end notices it after a while, at the latest by its keep-alive. */
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

  /** One end has closed regularly. */
  ended(): void {
    this.#network.links.delete(this)
  }
}
