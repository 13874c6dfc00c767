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

type Options = Partial<Pick<BoundServeOptions, 'limits' | 'notify' | 'onConflict' | 'onStored' | 'onUpload'>>

interface Running {
  readonly server: Server
  readonly listen: Transport
}

/** Servers that share a store in memory and a directory. */
export class ClusterServers implements AsyncDisposable {
  readonly log: LogEntry[] = []
  readonly directory: SharedDirectory
  readonly #platform: Platform
  readonly #store: MemorySharedStore
  readonly #running: Running[] = []
  readonly #clients: FileClient[] = []

  private constructor(directory: SharedDirectory, platform: Platform) {
    this.directory = directory
    this.#platform = platform
    this.#store = new MemorySharedStore(platform)
  }

  static async create(platform: Platform = nodePlatform()): Promise<ClusterServers> {
    return new ClusterServers(await SharedDirectory.create(), platform)
  }

  /** Starts a server, whose steps `alter` can change. */
  async start(options: Options = {}, alter: (steps: Steps) => Steps = (steps) => steps): Promise<Server> {
    const storage = this.directory.storage(alter(this.#store.steps()))
    const listen = memoryTransport()
    const shared = {
      storage,
      links: storage.links,
      platform: this.#platform,
      log: (line: LogEntry) => this.log.push(line),
    }
    const server = await startServer({ listen, authenticator: loopbackOnly(), ...shared, ...options })
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

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { raw } of this.#clients) raw.socket.destroy()
    for (const { server } of this.#running) await server.close()
    await this.directory[Symbol.asyncDispose]()
  }
}
