import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import type { Steps } from '../../lib/adapters/cluster/steps.ts'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { MemorySharedStore } from '../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import { type BoundServeOptions, type Server, startServer } from '../../lib/server/server.ts'
import { SharedDirectory } from '../adapters/cluster/sharedDirectory.ts'
import { FileClient } from './fileClient.ts'
import { type Greeting, RawClient } from './rawClient.ts'
import { pass, turn } from './turn.ts'
import type { VirtualClock } from './virtualClock.ts'

type Options = Partial<Pick<BoundServeOptions, 'limits' | 'notify' | 'onConflict' | 'onStored' | 'onUpload'>>

interface Running {
  readonly server: Server
  readonly listen: Transport
}

/** Servers that share a store in memory and a directory. */
export class ClusterServers implements AsyncDisposable {
  readonly log: LogEntry[] = []
  readonly directory: SharedDirectory
  /** Missing if the servers have the clock of the machine. */
  readonly clock: VirtualClock | undefined
  readonly #platform: Platform
  readonly #store: MemorySharedStore
  readonly #running: Running[] = []
  readonly #clients: FileClient[] = []

  private constructor(directory: SharedDirectory, clock: VirtualClock | undefined) {
    this.directory = directory
    this.clock = clock
    this.#platform = clock ? { ...nodePlatform(), clock } : nodePlatform()
    this.#store = new MemorySharedStore(this.#platform)
  }

  static async create(clock?: VirtualClock): Promise<ClusterServers> {
    return new ClusterServers(await SharedDirectory.create(), clock)
  }

  /** Starts a server. `alter` can change its steps. */
  async start(options: Options = {}, alter: (steps: Steps) => Steps = (steps) => steps): Promise<Server> {
    const storage = this.directory.storage(alter(this.#store.steps()))
    const listen = memoryTransport()
    const shared = {
      storage,
      links: storage.links,
      platform: this.#platform,
      log: (line: LogEntry) => this.log.push(line),
    }
    const starting = startServer({ listen, authenticator: loopbackOnly(), ...shared, ...options })
    const server = await this.passing(starting)
    this.#running.push({ server, listen })
    return server
  }

  /** Logs in at a server. */
  async client(server: Server, greeting: Greeting = {}): Promise<FileClient> {
    const { listen } = this.#running.find((running) => running.server === server) ?? {}
    if (!listen) throw new Error('the server is not one of these')
    const raw = await RawClient.dial(listen, this.#platform)
    raw.hello(greeting)
    const { node } = await raw.expect('HelloAck')
    const client = new FileClient(raw, node)
    this.#clients.push(client)
    return client
  }

  /** Lets time pass until `work` has settled, unless the servers have the clock of the machine. */
  async passing<T>(work: Promise<T>): Promise<T> {
    let isSettled = this.clock === undefined
    const settled = () => {
      isSettled = true
    }
    work.then(settled, settled)
    await this.passUntil(() => isSettled)
    return await work
  }

  /** Lets time pass until a condition holds. */
  async passUntil(holds: () => boolean): Promise<void> {
    for (await turn(); !holds(); ) {
      if (this.clock) await pass(this.clock, 10)
      else await turn()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { raw } of this.#clients) raw.socket.destroy()
    for (const { server } of this.#running) await this.passing(server.close())
    await this.directory[Symbol.asyncDispose]()
  }
}
