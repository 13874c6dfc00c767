import assert from 'node:assert/strict'
import { join } from 'node:path'
import { daemon, type Place, place, run } from '../support/commands.ts'
import { type TestDatabase, testDatabase } from '../support/postgres.ts'

/** A database and a directory that servers share. */
export class Shared implements AsyncDisposable {
  readonly #database: TestDatabase
  readonly #place: Place

  private constructor(database: TestDatabase, place: Place) {
    this.#database = database
    this.#place = place
  }

  /** Creates both. `postgres` is the URL of a server for the database. */
  static async create(postgres?: string): Promise<Shared> {
    return new Shared(await testDatabase(postgres), await place())
  }

  get files(): string {
    return join(this.#place.path, 'files')
  }

  get url(): string {
    return this.#database.url
  }

  get path(): string {
    return this.#place.path
  }

  /** Runs SQL as the owner of the database. */
  sql<Row extends object>(text: string): Promise<Row[]> {
    return this.#database.sql<Row>(text)
  }

  /** Runs `ospd` with the URL of the database in the environment. */
  run(...args: string[]) {
    return run('ospd', args, { env: { OSPD_CLUSTER: this.#database.url } })
  }

  /** Starts a server of the cluster. */
  serve(name: string, flags: readonly string[] = []) {
    const env = { OSPD_CLUSTER: this.#database.url }
    return daemon(join(this.#place.path, name), ['--files', this.files, ...flags], { env })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]()
    await this.#database[Symbol.asyncDispose]()
  }
}

/** Creates a database and a directory, and initializes them. */
export async function initialized(postgres?: string): Promise<Shared> {
  const shared = await Shared.create(postgres)
  assert.equal((await shared.run('cluster', 'init', '--files', shared.files)).code, 0)
  return shared
}
