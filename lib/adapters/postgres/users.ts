import { OspError } from '../../errors.ts'
import { nameKey } from '../../names.ts'
import type { StoredUser, UserSteps } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'

interface UsersRow {
  readonly version: number
  /** `null` if the version is known. */
  readonly users: readonly { readonly name: string; readonly tokenHash: string; readonly since: number }[] | null
}

/** The steps of users in SQL. */
export class PostgresUsers implements UserSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async users(known: number): Promise<{ readonly version: number; readonly users: readonly StoredUser[] } | undefined> {
    const [row] = await this.#database.query<UsersRow>(statements.users, [known])
    if (!row?.users) return undefined
    const users = row.users.map((user) => ({ ...user, tokenHash: Uint8Array.from(Buffer.from(user.tokenHash, 'hex')) }))
    return { version: row.version, users }
  }

  async setUser(name: string, tokenHash: Uint8Array | undefined): Promise<void> {
    const values = [name, nameKey(name), tokenHash ? Buffer.from(tokenHash) : null]
    const [row] = await this.#database.query<{ other: string | null }>(statements.setUser, values)
    if (typeof row?.other !== 'string') return
    throw new OspError('usage', `${name} is too similar to the user ${row.other}; choose another name`)
  }
}

const statements = {
  users: {
    name: 'users',
    // One statement, so that the version and the users belong together.
    text: `SELECT v.version, CASE WHEN v.version <> $1 THEN coalesce((
          SELECT jsonb_agg(jsonb_build_object('name', u.name, 'tokenHash', encode(u.token_hash, 'hex'),
              'since', extract(epoch FROM u.since)::float8 * 1000) ORDER BY u.name)
            FROM ospd.app_user u), '[]') END AS users
      FROM ospd.users_version v`,
  },
  setUser: { name: 'user-set', text: 'SELECT ospd.set_user_1($1, $2, $3) AS other' },
} satisfies Record<string, Statement>
