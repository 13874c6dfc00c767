import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { postgresMissing, sharedPostgres } from './postgresServer.ts'

/** An empty database of one test, on the server of this run. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string
  /** Runs SQL as the owner of the database. */
  sql<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
}

const given = process.env.OSPD_TEST_POSTGRES

/** The reason why specs with a database cannot run here, or undefined if they can. */
export const databaseMissing = given === undefined ? postgresMissing : undefined

/** Creates a database. The server is that of `OSPD_TEST_POSTGRES`, or else one that the run starts. */
export async function testDatabase(server?: string): Promise<TestDatabase> {
  const on = server ?? given ?? (await sharedPostgres())
  const name = `ospd_spec_${randomBytes(8).toString('hex')}`
  await runSql(on, `CREATE DATABASE ${name}`)
  const at = new URL(on)
  at.pathname = name
  return {
    url: at.href,
    sql: (text, values) => runSql(at.href, text, values),
    [Symbol.asyncDispose]: async () => void (await runSql(on, `DROP DATABASE ${name} WITH (FORCE)`)),
  }
}

async function runSql<Row extends object>(url: string, text: string, values: readonly unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  // The query rejects if the server ends, which a spec may have caused.
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query<Row>(text, [...values])).rows
  } finally {
    await client.end()
  }
}
