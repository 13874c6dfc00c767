import { localOnly } from '../adapters/localOnly.ts'
import type { Limits } from '../limits.ts'
import type { Authenticator } from '../ports/authenticator.ts'
import type { MailboxStore } from '../ports/mailboxes.ts'
import { type Server, serve } from '../server/server.ts'
import { SimulatedProcess } from './process.ts'
import { watchedStorage } from './watchedMailboxes.ts'
import type { World } from './world.ts'

/** How long the server may take to stop. */
const stoppingMs = 120_000

/** The server's program: it is started, killed, and started again. */
export class ServerActor {
  readonly #world: World
  readonly #limits: Partial<Limits>
  #runs = 0
  #process: SimulatedProcess | undefined
  #server: Server | undefined
  #mailboxes: MailboxStore | undefined
  #stopping = false
  #failing = false
  #hasFailed = false

  constructor(world: World, limits: Partial<Limits>) {
    this.#world = world
    this.#limits = limits
  }

  /** The running server, once it listens. */
  get server(): Server | undefined {
    return this.#server
  }

  /** The mailboxes of the running server. */
  get mailboxes(): MailboxStore | undefined {
    return this.#mailboxes
  }

  /** A flush of messages has failed, or is to: what the server then says of itself is no fault. */
  get failing(): boolean {
    return this.#failing
  }

  /** Some run of the server was failing: what it said then may still be on its way. */
  get hasFailed(): boolean {
    return this.#hasFailed
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  /** False: it runs already. */
  start(): boolean {
    if (this.#process) return false
    const { machine, network, disk, mail } = this.#world
    const process = new SimulatedProcess(`server ${++this.#runs}`, machine)
    this.#process = process
    this.#world.tell(`${process.name} starts`)
    const storage = disk.storageOf(process)
    this.#mailboxes = storage.mailboxes
    serve({
      platform: process.platform,
      listen: network.transportOf(process),
      storage: mail.users.length > 0 ? watchedStorage(storage, this.#world) : storage,
      authenticator: { ...localOnly(), ...this.#knowing(process) },
      limits: this.#limits,
      log: (entry) =>
        entry.level === 'error' &&
        process.alive &&
        !this.#failing &&
        this.#world.fail(`the server logged ${JSON.stringify(entry)}`),
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
    this.#gone()
    this.#world.invariants.survived(before)
    return true
  }

  /** It closes and ends. False: it does not run, or ends already. */
  stop(): boolean {
    const process = this.#process
    if (!process || !this.#server || this.#stopping) return false
    this.#world.tell(`${process.name} is stopped`)
    this.#stopping = true
    const { time } = this.#world.machine
    time.alarm(time.now() + stoppingMs, () => process.alive && this.#world.fail(`${process.name} does not stop`))
    this.#server.close().then(
      () => {
        if (!process.alive) return
        this.#world.tell(`${process.name} has stopped`)
        process.kill()
        this.#gone()
      },
      (error: unknown) => this.#world.fail(`the server could not stop: ${error}`),
    )
    return true
  }

  /** The next flush of messages fails; after a while the server is started anew, which is what settles it. */
  failFlush(): boolean {
    const process = this.#process
    if (!process || this.#failing || this.#stopping) return false
    this.#world.tell('a flush fails')
    this.#failing = true
    this.#hasFailed = true
    this.#world.disk.flushFails = true
    const { time, random } = this.#world.machine
    const atMs = time.now() + random.integer(100, 20_000, 'time until a server with a broken journal is started anew')
    time.alarm(atMs, () => {
      if (process.alive && this.kill(false)) this.start()
    })
    return true
  }

  /** It runs, and nothing is the matter with it. */
  heal(): void {
    if (this.#stopping || this.#failing) this.kill(false)
    this.start()
  }

  /** Where messages are sent it takes a while to find out who may receive. */
  #knowing(process: SimulatedProcess): Partial<Authenticator> {
    const { knowingMs } = this.#world.mail.temper
    if (knowingMs === 0) return {}
    return { knows: () => process.effect(knowingMs, 'time to know a user', () => true) }
  }

  #gone(): void {
    this.#process = undefined
    this.#server = undefined
    this.#mailboxes = undefined
    this.#stopping = false
    this.#failing = false
    this.#world.disk.flushFails = false
  }
}
