import { localOnly } from '../adapters/localOnly.ts'
import type { Limits } from '../limits.ts'
import { type Server, serve } from '../server/server.ts'
import { SimulatedProcess } from './process.ts'
import type { World } from './world.ts'

/** The server's program: it is started, killed, and started again. */
export class ServerActor {
  readonly #world: World
  readonly #limits: Partial<Limits>
  #runs = 0
  #process: SimulatedProcess | undefined
  #server: Server | undefined

  constructor(world: World, limits: Partial<Limits>) {
    this.#world = world
    this.#limits = limits
  }

  /** The running server, once it listens. */
  get server(): Server | undefined {
    return this.#server
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  /** False: it runs already. */
  start(): boolean {
    if (this.#process) return false
    const { machine, network, disk } = this.#world
    const process = new SimulatedProcess(`server ${++this.#runs}`, machine)
    this.#process = process
    this.#world.tell(`${process.name} starts`)
    serve({
      platform: process.platform,
      listen: network.transportOf(process),
      storage: disk.storageOf(process),
      authenticator: localOnly(),
      limits: this.#limits,
      log: (entry) => entry.level === 'error' && this.#world.fail(`the server logged ${JSON.stringify(entry)}`),
    }).then(
      (server) => {
        this.#server = server
        server.on('stored', ({ user, name }) => this.#world.tell(`${process.name} stored ${user}/${name}`))
      },
      (error: unknown) => this.#world.fail(`the server did not start: ${error}`),
    )
    return true
  }

  /** `power`: what was not flushed is lost too. False: it does not run. */
  kill(power: boolean): boolean {
    const process = this.#process
    if (!process) return false
    this.#world.tell(`${process.name} ${power ? 'loses its power' : 'is killed'}`)
    const before = this.#server?.status().uploads ?? []
    process.kill()
    this.#world.network.cut((link) => link.of(process))
    if (power) this.#world.disk.crash(this.#world.machine.random)
    this.#process = undefined
    this.#server = undefined
    this.#world.invariants.survived(before)
    return true
  }
}
