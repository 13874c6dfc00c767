import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { type MemoryStorage, memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client } from '../../lib/client/client.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import type { Limits } from '../../lib/limits.ts'
import { type BoundServeOptions, type Server, startServer } from '../../lib/server/server.ts'
import { type Breakable, breakable } from './breakable.ts'

/** A server in memory that can be restarted, and clients on links that can be cut. */
export class UploadRig implements AsyncDisposable {
  readonly storage: MemoryStorage = memory()
  readonly transport: Breakable = breakable(memoryTransport())
  readonly #clients: Client[] = []
  readonly #options: Partial<BoundServeOptions>
  server!: Server

  private constructor(options: Partial<BoundServeOptions>) {
    this.#options = options
  }

  /** Without other `limits`, files are not sent in one request. */
  static async start(limits: Partial<Limits> = {}, options: Partial<BoundServeOptions> = {}): Promise<UploadRig> {
    const rig = new UploadRig({ limits: { retryAfterMs: 1, smallFileBytes: 0, ...limits }, ...options })
    await rig.startServer()
    return rig
  }

  async startServer(): Promise<void> {
    const { storage, transport: listen } = this
    this.server = await startServer({
      platform: nodePlatform(),
      authenticator: loopbackOnly(),
      storage,
      listen,
      ...this.#options,
    })
  }

  /** Creates a client that reconnects immediately. */
  client(options: Partial<BoundClientOptions> = {}): Client {
    const real = nodePlatform()
    const platform = { ...real, random: { ...real.random, fraction: () => 0 } }
    const client = new RunningClient({ to: this.transport, user: 'alice', platform, software: 'spec', ...options })
    this.#clients.push(client)
    return client
  }

  /** Returns the published file, or `undefined`. */
  stored(user: string, name: string): Uint8Array | undefined {
    return this.storage.read(user, name)
  }

  /** Returns the number of records of unfinished uploads. */
  async records(): Promise<number> {
    let count = 0
    for await (const _ of this.storage.transfers.records()) count++
    return count
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.close()
    await this.server.close()
  }
}
