import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client } from '../../lib/client/client.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { type ServeOptions, type Server, serve } from '../../lib/index.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import type { TransferRecord } from '../../lib/ports/storage.ts'
import { type Deferred, deferred } from '../../lib/runtime/deferred.ts'
import { type TemporaryDirectory, temporaryDirectory } from '../testing/storage/places.ts'
import type { KillableServerOrders } from './killableServer.ts'
import { type Running, type StartOptions, startNode } from './processes.ts'
import { startSource } from './sources.ts'

/**
 * A data directory whose server is killed and restarted, and clients that find the server on whatever port it listens.
 */
export class MortalServer implements AsyncDisposable {
  /** Exists only after a server was started. */
  readonly data: string
  readonly #directory: TemporaryDirectory
  readonly #running: AsyncDisposable[] = []
  #port: Deferred<number> = deferred()
  #isUp = false

  private constructor(directory: TemporaryDirectory) {
    this.#directory = directory
    this.data = join(directory.path, 'data')
  }

  /** Uses `directory`, or a new one, and removes it afterwards. */
  static async in(directory?: TemporaryDirectory): Promise<MortalServer> {
    return new MortalServer(directory ?? (await temporaryDirectory()))
  }

  /** Starts a process that follows `orders`; resolves when it is ready or has ended. */
  killable(orders: Omit<KillableServerOrders, 'data'>): Promise<Running> {
    const line = JSON.stringify({ ...orders, data: this.data })
    return this.#started(startSource('spec/support/killableServer.ts', [line]))
  }

  /** Starts `ospd serve` as a process; resolves when it is ready or has ended. */
  daemon(flags: readonly string[] = [], options: StartOptions = {}): Promise<Running> {
    const args = ['serve', '--port', '0', '--data', this.data, ...flags]
    return this.#started(startNode('dist/bin/ospd.js', args, options))
  }

  /** Starts a server in this process. */
  async serve(options: Partial<ServeOptions> = {}): Promise<Server> {
    const server = await serve({ storage: disk(this.data), listen: tcp({ port: 0 }), ...options })
    this.#running.push(server)
    this.#up(server.addresses[0]?.port ?? 0)
    void server.closed.then(() => this.#down())
    return server
  }

  /** Creates a client that connects as soon as there is a server, and waits only as long as the server requires. */
  client(options: Partial<BoundClientOptions> = {}): Client {
    const real = nodePlatform()
    const platform = { ...real, random: { ...real.random, fraction: () => 0 } }
    const client = new RunningClient({ to: this.#to, user: 'alice', platform, software: 'spec', ...options })
    this.#running.push(client)
    return client
  }

  /** Returns the files below `files`, or below another folder of the data directory, by name. */
  async files(folder = 'files'): Promise<Map<string, Uint8Array>> {
    const top = join(this.data, folder)
    const files = new Map<string, Uint8Array>()
    for (const entry of await readdir(top, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      if (entry.isDirectory()) continue
      // A running server can remove a file after it was listed.
      const content = await readFile(path).catch((error) =>
        error.code === 'ENOENT' ? undefined : Promise.reject(error),
      )
      if (content) files.set(relative(top, path), Uint8Array.from(content))
    }
    return files
  }

  /** Reads the records in the data directory, which no server may have open. */
  async records(): Promise<TransferRecord[]> {
    await using storage = disk(this.data)
    await storage.open(nodePlatform())
    const records: TransferRecord[] = []
    for await (const record of storage.transfers.records()) records.push(record)
    return records
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#running.reverse()) await running[Symbol.asyncDispose]()
    await this.#directory[Symbol.asyncDispose]()
  }

  get #to(): Transport {
    return {
      listen: () => Promise.reject(new Error('this transport only dials')),
      dial: async (options, signal) => {
        const port = await Promise.race([this.#port.promise, aborted(signal)])
        return tcp({ port: port ?? 0 }).dial(options, signal)
      },
    }
  }

  async #started(running: Running): Promise<Running> {
    this.#running.push(running)
    void running.ended.then(() => this.#down())
    const ready = running.printed(/ready on (?:127\.0\.0\.1:)?(\d+)/u).then(([, port]) => this.#up(Number(port)))
    await Promise.race([ready.catch(() => {}), running.ended])
    return running
  }

  #up(port: number): void {
    this.#isUp = true
    this.#port.resolve(port)
  }

  /** From now on, dialling waits for the next server; dials that wait already keep waiting for the same one. */
  #down(): void {
    if (this.#isUp) this.#port = deferred()
    this.#isUp = false
  }
}

/** Resolves when `signal` aborts. */
function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { once: true })
    if (signal.aborted) resolve(undefined)
  })
}
