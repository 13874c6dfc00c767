import type pg from 'pg'
import type { Client, ClientConfig, Pool, PoolClient, QueryResultRow } from 'pg'
import { OspError } from '../../errors.ts'
import { OutcomeUnknown } from '../cluster/steps.ts'
import { isAnswer, reachFailureOf, stepFailureOf } from './errors.ts'

/** A prepared statement, which each connection parses once. */
export interface Statement {
  /** Unique among all statements. */
  readonly name: string
  readonly text: string
}

/** Runs statements in one transaction, or each in its own transaction. */
export interface Queries {
  /** Resolves with the rows. Rejects with the errors of `Steps`. */
  query<Row extends QueryResultRow>(statement: Statement, values?: readonly unknown[]): Promise<Row[]>
}

/** The settings of connections. */
export interface DatabaseOptions {
  /** The URL as in libpq: `postgres://user:password@host:port/database`. */
  readonly url: string
  /** The maximum number of connections besides those of `connect`. */
  readonly connections?: number
  /** The timeout for establishing a connection. */
  readonly connectMs?: number
  /** The timeout after which the database cancels a statement. The client closes the connection after 1.5 times this value. */
  readonly statementMs?: number
}

type Pg = typeof pg

const intArray = 1007
const bigint = 20
const bigintArray = 1016

/** The connections to a PostgreSQL database. They are opened on demand. */
export class Database implements Queries, AsyncDisposable {
  readonly #options: DatabaseOptions
  #pg: Pg | undefined
  #pool: Pool | undefined
  /** Runs on each connection before any other statement. Returns the timeline of the database, or null if it has none. */
  first: Statement | undefined
  /** The result of `first`. */
  readonly #timelines = new WeakMap<PoolClient, string | null>()
  /** The timeline that statements expect, since the caller relies on results from it. */
  #timeline: string | null | undefined
  #isClosed = false
  /** The host, the port and the name. */
  #address = ''

  constructor(options: DatabaseOptions) {
    this.#options = options
  }

  /**
   * Loads the package `pg`. Rejects with OspError `usage` if it is not installed, or if the URL cannot be used. Must be called
   * before all other methods.
   */
  async open(): Promise<void> {
    this.#pg = await loadPg()
    this.#address = addressOf(this.#pg, this.#config(this.#pg))
    this.#pool = new this.#pg.Pool({ ...this.#config(this.#pg), max: this.#options.connections ?? 8 })
    // Emitted when an idle connection, or one between two queries, ends. The next query fails or opens another connection.
    this.#pool.on('error', () => {})
    this.#pool.on('connect', (client) => client.on('error', () => {}))
  }

  async query<Row extends QueryResultRow>(statement: Statement, values: readonly unknown[] = []): Promise<Row[]> {
    return this.#on(async (client) => {
      const { rows } = await client.query<Row>({ ...statement, values: [...values] })
      return rows
    })
  }

  /**
   * Like `query`, but also runs after a standby was promoted. After a promotion, all other statements reject with
   * `OutcomeUnknown`, without effect, until this has succeeded.
   */
  async queryAnew<Row extends QueryResultRow>(statement: Statement, values: readonly unknown[] = []): Promise<Row[]> {
    return this.#on(async (client) => {
      const { rows } = await client.query<Row>({ ...statement, values: [...values] })
      // Later: a statement that began before the promotion could take effect before this one.
      this.#timeline = this.#timelines.get(client)
      return rows
    }, true)
  }

  /** Runs `work` in a transaction, which is rolled back if `work` rejects. */
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T> {
    return this.#on(async (client) => {
      await client.query('BEGIN')
      try {
        const result = await work({
          query: async (statement, values = []) => (await client.query({ ...statement, values: [...values] })).rows,
        })
        const { command } = await client.query('COMMIT')
        if (command !== 'COMMIT') throw new OspError('internal', 'the transaction was rolled back')
        return result
      } catch (error) {
        if (isAnswer(error)) await client.query('ROLLBACK')
        throw error
      }
    })
  }

  /** Opens a connection for notifications, which the caller owns. Rejects if it cannot be established. */
  async connect(): Promise<Client> {
    const { pg } = this.#opened
    const client = new pg.Client(this.#config(pg))
    // The caller listens for `end`. Without a listener for `error`, the process would exit.
    client.on('error', () => {})
    try {
      await client.connect()
    } catch (error) {
      throw stepFailureOf(error)
    }
    return client
  }

  /**
   * Resolves with the result of `work`. Rejects with OspError `unreachable` if the database does not answer, and with `unauthorized`
   * if it rejects the login. The errors name the database, without the password.
   */
  async reach<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw reachFailureOf(this.#address, error)
    }
  }

  /** Closes the connections after the running queries have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    const pool = this.#pool
    this.#pool = undefined
    await pool?.end()
  }

  get #opened(): { readonly pg: Pg; readonly pool: Pool } {
    if (!this.#pg || !this.#pool) {
      throw new OspError('closed', `the database is ${this.#isClosed ? 'closed' : 'not open yet'}`)
    }
    return { pg: this.#pg, pool: this.#pool }
  }

  /**
   * Runs `work` on a connection. Closes the connection after an error that is not an answer: a query may still be running on it.
   */
  async #on<T>(work: (client: PoolClient) => Promise<T>, isAnew = false): Promise<T> {
    const { pool } = this.#opened
    let client: PoolClient | undefined
    try {
      client = await pool.connect()
      await this.#begin(client, isAnew)
      const result = await work(client)
      client.release()
      return result
    } catch (error) {
      client?.release(!isAnswer(error))
      throw stepFailureOf(error)
    }
  }

  async #begin(client: PoolClient, isAnew: boolean): Promise<void> {
    if (!this.first) return
    let timeline = this.#timelines.get(client)
    if (timeline === undefined) {
      const { rows } = await client.query<{ timeline: string | null }>({ ...this.first })
      timeline = rows[0]?.timeline ?? null
      this.#timelines.set(client, timeline)
    }
    if (this.#timeline === undefined) this.#timeline = timeline
    if (timeline !== this.#timeline && !isAnew) throw new OutcomeUnknown('a standby of the database was promoted')
  }

  #config(pg: Pg): ClientConfig {
    const { url, connectMs = 5_000, statementMs = 10_000 } = this.#options
    const { types } = pg
    return {
      connectionString: url,
      application_name: 'ospd',
      connectionTimeoutMillis: connectMs,
      statement_timeout: statementMs,
      query_timeout: 1.5 * statementMs,
      idle_in_transaction_session_timeout: 5_000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      types: {
        // All numbers in the schema are below 2^53.
        getTypeParser: (oid: number, format?: 'text' | 'binary') => {
          if (oid === bigint) return Number
          return types.getTypeParser(oid === bigintArray ? intArray : oid, format as 'text')
        },
      } as ClientConfig['types'] & {},
    }
  }
}

/** Returns the host, the port and the name of a database. Throws OspError `usage` if `pg` does not accept the settings. */
function addressOf(pg: Pg, config: ClientConfig): string {
  try {
    // Never connects. Its fields come from the URL, the environment and the defaults of `pg`.
    const { host, port, database = '' } = new pg.Client(config)
    return `${host}:${port}/${database}`
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new OspError('usage', `the URL of the database of the cluster cannot be used: ${reason}`, { cause })
  }
}

async function loadPg(): Promise<Pg> {
  try {
    return (await import('pg')).default
  } catch (cause) {
    const text = 'PostgreSQL needs the package "pg", which is not installed; run `npm install pg@8`'
    throw new OspError('usage', text, { cause })
  }
}
