import type { Steps } from '../cluster/steps.ts'
import { Database, type DatabaseOptions } from './database.ts'
import { PostgresFiles } from './files.ts'
import { PostgresImports } from './imports.ts'
import { PostgresPresence, PostgresSessions } from './links.ts'
import { PostgresMail } from './mail.ts'
import { PostgresNotices } from './notices.ts'
import { checkSchema } from './schema.ts'
import { PostgresServers } from './servers.ts'
import { PostgresTransfers } from './transfers.ts'
import { PostgresUsers } from './users.ts'

/** Returns the steps of one server for the shared store in a PostgreSQL database. `migrate` must have created the schema. */
export function postgresSteps(options: DatabaseOptions): Steps {
  return stepsOn(new Database(options))
}

/** Returns the steps of one server on a database, which they open and close. */
export function stepsOn(database: Database): Steps {
  const servers = new PostgresServers(database)
  const sessions = new PostgresSessions(database)
  const presence = new PostgresPresence(database)
  const users = new PostgresUsers(database)
  const notices = new PostgresNotices(database)
  return {
    mail: new PostgresMail(database),
    transfers: new PostgresTransfers(database),
    files: new PostgresFiles(database),
    imports: new PostgresImports(database),
    open: () => open(database),
    enter: (info, leaseMs) => servers.enter(info, leaseMs),
    renew: (server, leaseMs, age, status) => servers.renew(server, leaseMs, age, status),
    leave: (server) => servers.leave(server),
    declareDead: (by) => servers.declareDead(by),
    servers: () => servers.servers(),
    compare: (server, boot, seen) => servers.compare(server, boot, seen),
    raise: (server, seen) => servers.raise(server, seen),
    linkBlock: () => servers.linkBlock(),
    lastTime: () => servers.lastTime(),
    openSession: (link, attempt) => sessions.openSession(link, attempt),
    closeSession: (link) => sessions.closeSession(link),
    present: (server, after, changes) => presence.present(server, after, changes),
    presence: (server, after) => presence.presence(server, after),
    users: (known) => users.users(known),
    setUser: (name, tokenHash) => users.setUser(name, tokenHash),
    tell: (to, notice) => notices.tell(to, notice),
    hear: (server, heard) => notices.hear(server, heard),
    [Symbol.asyncDispose]: async () => {
      await notices[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
}

async function open(database: Database): Promise<void> {
  await database.open()
  await database.reach(() => checkSchema(database))
  database.first = { name: 'connect', text: 'SELECT ospd.connect_1() AS timeline' }
}
