import type { ClusterLink, ClusterSessionLink, PresenceChange, PresenceSteps, SessionSteps } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'

/** The steps of sessions in SQL. */
export class PostgresSessions implements SessionSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async openSession(by: ClusterSessionLink, attempt: number): Promise<ClusterLink | undefined> {
    const values = [by.user, by.session, by.server, by.link, attempt]
    return (await this.#database.query<ClusterLink>(statements.openSession, values))[0]
  }

  async closeSession({ user, session, server, link }: ClusterSessionLink): Promise<void> {
    await this.#database.query(statements.closeSession, [user, session, server, link])
  }
}

interface PresenceRow {
  readonly version: number
  readonly isWhole: boolean
  readonly changes: readonly PresenceChange[]
}

/** The steps of the presence list in SQL. */
export class PostgresPresence implements PresenceSteps {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async present(server: number, after: number, changes: readonly PresenceChange[]): Promise<number> {
    const [row] = await this.#database.query<{ version: number }>(statements.present, [
      server,
      after,
      changes.map(({ link }) => link),
      changes.map(({ user }) => user),
      changes.map(({ isHere }) => isHere),
    ])
    return row?.version ?? after
  }

  async presence(server: number, after: number): ReturnType<PresenceSteps['presence']> {
    const [row] = await this.#database.query<PresenceRow>(statements.presence, [server, after])
    // The row of a server that ended long ago is removed.
    return row ?? { version: 0, isWhole: true, changes: [] }
  }
}

const statements = {
  openSession: { name: 'session-open', text: 'SELECT * FROM ospd.open_session_1($1, $2, $3, $4, $5)' },
  closeSession: {
    name: 'session-close',
    text: 'DELETE FROM ospd.session WHERE user_name = $1 AND session = $2 AND server = $3 AND link = $4',
  },
  present: { name: 'presence-present', text: 'SELECT ospd.present_1($1, $2, $3, $4, $5) AS version' },
  presence: {
    name: 'presence-read',
    // One statement, so that the version and the changes belong together.
    text: `SELECT s.presence_version AS version, w.whole AS "isWhole", coalesce((
          SELECT jsonb_agg(jsonb_build_object('link', p.link, 'user', p.user_name, 'isHere', p.here)
              ORDER BY p.version, p.here, p.link)
            FROM ospd.presence p
           WHERE p.server = s.id AND NOT s.dead AND CASE WHEN w.whole THEN p.here ELSE p.version > $2 END), '[]') AS changes
      FROM ospd.server s
      CROSS JOIN LATERAL (SELECT s.dead OR $2 < s.presence_kept OR $2 > s.presence_version AS whole) w
      WHERE s.id = $1`,
  },
} satisfies Record<string, Statement>
