import { Database } from '../../../lib/adapters/postgres/database.ts'
import { PostgresMail } from '../../../lib/adapters/postgres/mail.ts'
import { migrate } from '../../../lib/adapters/postgres/schema.ts'
import { testDatabase } from '../../support/postgres.ts'
import type { MailFixture } from '../cluster/contract/mail.ts'

const enter = {
  name: 'enter',
  text: `INSERT INTO ospd.server (name, boot, version, address, lease_until)
    VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 ms') RETURNING id`,
}

export interface MailRig extends MailFixture {
  /** Runs SQL as the owner of the database. */
  sql<Row extends object>(text: string): Promise<Row[]>
}

/** Opens mailboxes in a new database of this server. `url` is where the steps connect. */
export async function mailRig(server?: string, urlOf = (url: string) => url): Promise<MailRig> {
  const at = await testDatabase(server)
  const databases: Database[] = []
  const connect = async (url = urlOf(at.url)) => {
    const database = new Database({ url, connections: 4 })
    await database.open()
    databases.push(database)
    return database
  }
  await migrate(await connect(at.url))
  return {
    sql: at.sql,
    async connect() {
      const database = await connect()
      return {
        mail: new PostgresMail(database),
        async enter({ name, boot, version, address }, leaseMs) {
          const [row] = await database.query<{ id: number }>(enter, [name, boot, version, address, leaseMs])
          return row?.id ?? 0
        },
      }
    },
    async [Symbol.asyncDispose]() {
      for (const database of databases) await database[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
}
