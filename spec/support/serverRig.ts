import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loopbackOnly } from '../../lib/adapters/auth/unverified.ts'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { memoryTransport } from '../../lib/adapters/memory/memoryTransport.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { Limits } from '../../lib/limits.ts'
import type { LogEntry } from '../../lib/ports/log.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import type { Storage, TransferRecord } from '../../lib/ports/storage.ts'
import { type BoundServeOptions, type Server, startServer } from '../../lib/server/server.ts'
import { FaultyStorage } from './faultyStorage.ts'
import { FileClient } from './fileClient.ts'
import { type Greeting, RawClient } from './rawClient.ts'
import { VirtualClock } from './virtualClock.ts'

interface RigOptions extends Partial<Omit<BoundServeOptions, 'limits' | 'storage'>> {
  readonly capacityBytes?: number
}

/** The storage and the transport of a rig. */
interface Ground {
  readonly listen: Transport
  storage(): Storage
  reaching(server: Server, listen: Transport): Transport
  stored(user: string, name: string): Promise<Uint8Array | undefined>
  remove(user: string, name: string): void
  /** Empty if in memory. */
  readonly directory: string
  clear(): Promise<void>
}

/** A server whose storage can fail and which can crash and restart, with raw clients. */
export class ServerRig implements AsyncDisposable {
  readonly log: LogEntry[] = []
  readonly platform: Platform
  storage!: FaultyStorage
  server!: Server
  /** Called with the storage before the server opens it. */
  trouble: (storage: FaultyStorage) => void = () => {}
  readonly #ground: Ground
  readonly #limits: Partial<Limits>
  readonly #options: RigOptions
  readonly #dialled: RawClient[] = []

  private constructor(ground: Ground, limits: Partial<Limits>, options: RigOptions) {
    this.#ground = ground
    this.#limits = limits
    this.#options = options
    this.platform = options.platform ?? nodePlatform()
  }

  /** In memory. */
  static start(limits: Partial<Limits> = {}, options: RigOptions = {}): Promise<ServerRig> {
    return ServerRig.#on(inMemory(options.capacityBytes), limits, options)
  }

  /** In a temporary directory, over TCP. */
  static async onDisk(limits: Partial<Limits> = {}, options: RigOptions = {}): Promise<ServerRig> {
    return ServerRig.#on(await inDirectory(), limits, options)
  }

  static async #on(ground: Ground, limits: Partial<Limits>, options: RigOptions): Promise<ServerRig> {
    const rig = new ServerRig(ground, limits, options)
    await rig.restart()
    return rig
  }

  /** Starts a server on the stored data. */
  async restart(options: RigOptions = {}, limits: Partial<Limits> = {}): Promise<void> {
    this.storage = new FaultyStorage(this.#ground.storage())
    this.trouble(this.storage)
    this.server = await startServer({
      authenticator: loopbackOnly(),
      listen: this.#ground.listen,
      log: (entry) => this.log.push(entry),
      ...this.#options,
      ...options,
      platform: this.platform,
      storage: this.storage,
      limits: { ...this.#limits, ...limits },
    })
  }

  /** Ends the server at once: it stores nothing more, and its clients receive nothing more. */
  async crash(): Promise<void> {
    await this.storage[Symbol.asyncDispose]()
    for (const client of this.#dialled.splice(0)) client.socket.destroy()
    await this.server.close()
  }

  /** Opens a link without HELLO. */
  async dial(): Promise<RawClient> {
    const client = await RawClient.dial(
      this.#ground.reaching(this.server, this.#options.listen ?? this.#ground.listen),
      this.platform,
    )
    this.#dialled.push(client)
    return client
  }

  /** Opens a link and logs in. */
  async client(greeting: Greeting = {}): Promise<FileClient> {
    const raw = await this.dial()
    raw.hello(greeting)
    const { node } = await raw.expect('HelloAck')
    return new FileClient(raw, node)
  }

  /** The data directory of a rig on disk. */
  get directory(): string {
    return this.#ground.directory
  }

  /** Returns the bytes of a published file. */
  stored(name: string, user = 'alice'): Promise<Uint8Array | undefined> {
    return this.#ground.stored(user, name)
  }

  /** Removes a published file behind the server's back, in memory. */
  remove(name: string, user = 'alice'): void {
    this.#ground.remove(user, name)
  }

  /** Returns the records of unfinished uploads. */
  async records(): Promise<TransferRecord[]> {
    const records: TransferRecord[] = []
    for await (const record of this.storage.transfers.records()) records.push(record)
    return records
  }

  async assertStored(name: string, bytes: Uint8Array, user = 'alice'): Promise<void> {
    assert.deepEqual(await this.stored(name, user), bytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#dialled) client.socket.destroy()
    await this.server.close()
    await this.#ground.clear()
  }
}

/** Node's platform with a clock that moves only on request. */
export function manualPlatform(): Platform & { readonly clock: VirtualClock } {
  return { ...nodePlatform(), clock: new VirtualClock() }
}

function inMemory(capacityBytes?: number): Ground {
  const storage = memory(capacityBytes === undefined ? {} : { capacityBytes })
  const transport = memoryTransport()
  return {
    listen: transport,
    storage: () => storage,
    reaching: (_, listen) => listen,
    stored: async (user, name) => storage.read(user, name),
    remove: (user, name) => storage.remove(user, name),
    directory: '',
    clear: async () => {},
  }
}

async function inDirectory(): Promise<Ground> {
  const directory = await mkdtemp(join(tmpdir(), 'ospd-server-'))
  return {
    directory,
    listen: tcp({ port: 0 }),
    storage: () => disk(directory),
    reaching: ({ addresses: [address] }) => tcp({ port: address?.port ?? 0 }),
    async stored(user, name) {
      const bytes = await readFile(join(directory, 'files', user, name)).catch(() => undefined)
      return bytes && Uint8Array.from(bytes)
    },
    remove: (user, name) => rmSync(join(directory, 'files', user, name)),
    clear: () => rm(directory, { recursive: true }),
  }
}
