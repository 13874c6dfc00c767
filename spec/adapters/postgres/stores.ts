import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { type Migration, migrations } from '../../../lib/adapters/postgres/migrations.ts'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { migrate } from '../../../lib/adapters/postgres/schema.ts'
import { type TestDatabase, testDatabase } from '../../support/postgres.ts'
import type { SharedStoreFixture } from '../cluster/contract/fixture.ts'

/** A shared store in PostgreSQL, for one test case. */
export interface PostgresFixture extends SharedStoreFixture {
  readonly url: string
  readonly sql: TestDatabase['sql']
  /** Returns open steps. Without a URL they are connected to the database itself. */
  connect(url?: string): Promise<Steps>
}

async function stepsOn(url: string): Promise<Steps> {
  const steps = postgresSteps({ url, connections: 4 })
  await steps.open()
  return steps
}

/** The database that the stores of a spec file use one after another, since creating a database takes a while. */
class ReusedDatabase implements AsyncDisposable {
  readonly #created: TestDatabase
  readonly #database: Database
  /** Connected steps that no test case uses at present. */
  readonly #idle: Steps[] = []

  private constructor(created: TestDatabase, database: Database) {
    this.#created = created
    this.#database = database
  }

  static async create(all: readonly Migration[]): Promise<ReusedDatabase> {
    const created = await testDatabase()
    const database = new Database({ url: created.url, connections: 1 })
    await database.open()
    await migrate(database, all)
    return new ReusedDatabase(created, database)
  }

  /** Removes all rows and begins with seq 1 again. Returns a store whose disposal calls `ended`. */
  async store(ended: () => void): Promise<PostgresFixture> {
    await this.#clear()
    const { url, sql } = this.#created
    const used: Steps[] = []
    const others: Steps[] = []
    return {
      ...{ url, sql },
      connect: async (at = url) => {
        const steps = (at === url ? this.#idle.pop() : undefined) ?? (await stepsOn(at))
        const list = at === url ? used : others
        list.push(steps)
        return steps
      },
      [Symbol.asyncDispose]: async () => {
        this.#idle.push(...used)
        for (const steps of others) await steps[Symbol.asyncDispose]()
        ended()
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const steps of this.#idle) await steps[Symbol.asyncDispose]()
    await this.#database[Symbol.asyncDispose]()
    await this.#created[Symbol.asyncDispose]()
  }

  async #clear(): Promise<void> {
    const text = `SELECT relname AS name FROM pg_class WHERE relnamespace = 'ospd'::regnamespace AND relkind = 'r'
      AND relname NOT IN ('meta', 'users_version')`
    const tables = await this.#database.query<{ name: string }>({ name: 'tables', text })
    const deletions = tables.map(({ name }) => `DELETE FROM ospd.${name};`)
    await this.#database.query({ name: '', text: `${deletions.join(' ')} ALTER SEQUENCE ospd.message_seq RESTART` })
  }
}

let reused: Promise<ReusedDatabase> | undefined
let closing: NodeJS.Timeout | undefined

/** Returns an empty store. All stores of a spec file have the same migrations. */
export async function emptyStore(all: readonly Migration[] = migrations): Promise<PostgresFixture> {
  clearTimeout(closing)
  reused ??= ReusedDatabase.create(all)
  const database = await reused
  return database.store(() => {
    // The next test case begins before that, unless this one was the last.
    closing = setTimeout(() => {
      reused = undefined
      void database[Symbol.asyncDispose]()
    }, 500)
  })
}
