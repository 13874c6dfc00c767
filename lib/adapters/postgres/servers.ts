import { fixed } from '../../limits.ts'
import {
  type Comparison,
  linkBlockSize,
  type SeenState,
  type ServerInfo,
  type ServerState,
  type ServerSteps,
} from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'

/** The steps of servers in SQL. */
export class PostgresServers implements ServerSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async enter({ name, boot, version, address }: ServerInfo, leaseMs: number): Promise<number> {
    const values = [name, boot, version, address, leaseMs]
    return only(await this.#database.queryAnew<{ server: number }>(statements.enter, values)).server
  }

  async renew(
    server: number,
    leaseMs: number,
    age: number,
    status: Readonly<Record<string, unknown>>,
  ): Promise<boolean> {
    const values = [server, leaseMs, age, JSON.stringify(status)]
    return (await this.#database.query(statements.renew, values)).length > 0
  }

  async leave(server: number): Promise<void> {
    await this.#database.query(statements.leave, [server])
  }

  async declareDead(by: number): Promise<readonly number[]> {
    const values = [by, fixed.notes]
    return only(await this.#database.query<{ dead: readonly number[] }>(statements.declareDead, values)).dead
  }

  servers(): Promise<readonly ServerState[]> {
    return this.#database.query<ServerState>(statements.servers)
  }

  async compare(server: number, boot: string, seen: SeenState): Promise<Comparison> {
    const { stored, presenceVersion, seq, token, linkBlock } = seen
    const values = [server, boot, stored, presenceVersion, seq, token, linkBlock / linkBlockSize]
    return only(await this.#database.queryAnew<Comparison>(statements.compare, values))
  }

  async raise(server: number, { seq, token, linkBlock }: SeenState): Promise<void> {
    await this.#database.query(statements.raise, [server, seq, token, linkBlock / linkBlockSize])
  }

  async linkBlock(): Promise<number> {
    return only(await this.#database.query<{ first: number }>(statements.linkBlock, [linkBlockSize])).first
  }

  async lastTime(): Promise<number> {
    return only(await this.#database.queryAnew<{ time: number }>(statements.lastTime)).time
  }
}

/** Returns the row of a statement that has one. */
function only<Row>([row]: readonly Row[]): Row {
  if (row === undefined) throw new Error('the database has returned no row')
  return row
}

const statements = {
  enter: { name: 'server-enter', text: 'SELECT ospd.enter_1($1, $2, $3, $4, $5) AS server' },
  renew: {
    name: 'server-renew',
    text: `UPDATE ospd.server SET lease_until = clock_timestamp() + $2 * interval '1 ms', age = greatest(age, $3), status = $4
      WHERE id = $1 AND NOT dead RETURNING true AS renewed`,
  },
  leave: { name: 'server-leave', text: 'SELECT ospd.end_servers_1(ARRAY[$1::bigint], NULL)' },
  declareDead: { name: 'server-declare-dead', text: 'SELECT ospd.declare_dead_1($1, $2) AS dead' },
  servers: {
    name: 'servers',
    text: `SELECT id AS server, name, boot, version, address, dead AS "isDead", presence_version AS "presenceVersion", status,
        extract(epoch FROM started_at)::float8 * 1000 AS "startedAt",
        extract(epoch FROM lease_until - clock_timestamp())::float8 * 1000 AS "leaseMs"
      FROM ospd.server ORDER BY id`,
  },
  compare: {
    name: 'server-compare',
    text: `SELECT is_behind AS "isBehind", messages, is_member AS "isMember", ospd.timeline_1() AS timeline
      FROM ospd.compare_1($1, $2, $3, $4, $5, $6, $7)`,
  },
  raise: { name: 'server-raise', text: 'SELECT ospd.raise_1($1, $2, $3, $4)' },
  linkBlock: {
    name: 'server-link-block',
    // The message makes the commit wait until the number is durable, which a sequence alone does not always do.
    text: `SELECT nextval('ospd.link_block') * $1::bigint AS first FROM pg_logical_emit_message(true, 'ospd', '')`,
  },
  lastTime: {
    name: 'server-last-time',
    text: 'SELECT greatest((SELECT max(age) FROM ospd.server), (SELECT age FROM ospd.meta), 0) AS time',
  },
} satisfies Record<string, Statement>
