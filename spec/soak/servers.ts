import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { clusterServers, createCluster, type ServerState } from '../../lib/postgres.ts'
import { type Place, place, start } from '../support/commands.ts'
import { freeze, thaw } from '../support/frozen.ts'
import { freePort, ownPostgres, type PostgresServer } from '../support/postgresServer.ts'
import type { Running } from '../support/processes.ts'
import { type TcpBalancer, tcpBalancer } from '../support/tcpBalancer.ts'

/** The timeout for a change of the list of servers. It only detects hangs. */
const hangMs = 90_000

interface ServerProcess {
  readonly port: number
  readonly running: Running
}

interface Parts {
  readonly place: Place
  readonly database: PostgresServer & AsyncDisposable
  readonly balancer: TcpBalancer
}

/** The server processes of one cluster behind a balancer, with a PostgreSQL server of their own. */
export class ClusterServers implements AsyncDisposable {
  readonly balancer: TcpBalancer
  readonly #parts: Parts
  readonly #running = new Map<string, ServerProcess>()
  readonly #endNow = () => {
    for (const { running } of this.#running.values()) running.child.kill('SIGKILL')
  }

  private constructor(parts: Parts) {
    this.#parts = parts
    this.balancer = parts.balancer
    process.once('exit', this.#endNow)
  }

  /** Prepares a cluster and starts a server of each name. */
  static async start(names: readonly string[]): Promise<ClusterServers> {
    const parts = { place: await place(), database: await ownPostgres(), balancer: await tcpBalancer() }
    const servers = new ClusterServers(parts)
    try {
      await createCluster({ database: parts.database.url(), files: servers.files })
      for (const name of names) await servers.start(name)
      return servers
    } catch (error) {
      await servers[Symbol.asyncDispose]()
      throw error
    }
  }

  get path(): string {
    return this.#parts.place.path
  }

  get files(): string {
    return join(this.path, 'files')
  }

  /** Starts a server, at the port of its former process if there was one. */
  async start(name: string): Promise<void> {
    const port = this.#running.get(name)?.port ?? (await freePort())
    const args = ['--port', `${port}`, '--data', join(this.path, name), '--files', this.files]
    const running = start('ospd', ['serve', ...args], { env: { OSPD_CLUSTER: this.#parts.database.url() } })
    this.#running.set(name, { port, running })
    await running.printed(/ready on 127\.0\.0\.1:/u)
    this.balancer.set(name, port)
  }

  async kill(name: string): Promise<void> {
    await this.#of(name).running.kill('SIGKILL')
  }

  /** Shuts a server down; resolves with its exit code. */
  async stop(name: string): Promise<number | null> {
    const { running } = this.#of(name)
    await running.kill('SIGTERM')
    return (await running.ended).code
  }

  freeze(name: string): Promise<void> {
    return freeze(this.#of(name).running)
  }

  /** Resumes a frozen server; resolves when it has rejoined the cluster. */
  async thaw(name: string): Promise<void> {
    const server = this.#of(name)
    thaw(server.running)
    await this.#until(server, (states) => states.some(isAlive))
    this.balancer.set(name, server.port)
  }

  /** Resolves when the other servers have declared this one dead. The balancer does not choose it after that. */
  async declaredDead(name: string): Promise<void> {
    await this.#until(this.#of(name), (states) => !states.some(isAlive))
    this.balancer.suspend(name)
  }

  /** Restarts the database as after a crash. */
  crashDatabase(): Promise<void> {
    return this.#parts.database.crash()
  }

  /** Resolves with the digests of the published files by `USER/NAME`. */
  async published(): Promise<Map<string, string>> {
    const top = join(this.files, 'files')
    const paths = filesBelow(top)
    const digests = new Map<string, string>()
    for (const path of paths) digests.set(relative(top, path), sha256(await readFile(path)))
    return digests
  }

  /** Returns the paths of the files that are left in `partial`. */
  partial(): string[] {
    const top = join(this.files, 'partial')
    return filesBelow(top).map((path) => relative(top, path))
  }

  /** Resolves when the listed servers with the address of this one meet a condition. Rejects after a timeout. */
  async #until({ port }: ServerProcess, holds: (states: readonly ServerState[]) => boolean): Promise<void> {
    const url = this.#parts.database.url()
    const deadline = performance.now() + hangMs
    for (;;) {
      const all = await clusterServers(url)
      if (holds(all.filter(({ address }) => address === `127.0.0.1:${port}`))) return
      if (performance.now() > deadline) throw new Error(`the cluster still lists ${JSON.stringify(all)}`)
      await pause(100)
    }
  }

  #of(name: string): ServerProcess {
    const server = this.#running.get(name)
    if (!server) throw new RangeError(`there is no server ${name}`)
    return server
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { running } of this.#running.values()) await running.kill('SIGKILL')
    await this.balancer[Symbol.asyncDispose]()
    await this.#parts.database[Symbol.asyncDispose]()
    await this.#parts.place[Symbol.asyncDispose]()
    process.off('exit', this.#endNow)
  }
}

const isAlive = ({ isDead, leaseMs }: ServerState) => !isDead && leaseMs > 0

const filesBelow = (directory: string) =>
  readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
