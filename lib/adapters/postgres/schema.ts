import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import type { DirectoryIds } from '../disk/sharedFiles.ts'
import type { Database, Queries } from './database.ts'
import { isLockConflict } from './errors.ts'
import { type Migration, migrations } from './migrations.ts'

/** The version of the schema that this code creates. */
export const schemaVersion = migrations.length

const lockMigration = { name: 'migration-lock', text: "SELECT pg_advisory_xact_lock(hashtext('ospd migration'))" }

// `to_regclass` would use a cache, which is not updated when another transaction has released the lock of the migration.
const findSchema = {
  name: 'schema-find',
  text: "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'ospd' AND tablename = 'meta') AS found",
}

const readVersion = { name: 'schema-version', text: 'SELECT version FROM ospd.meta' }

const writeVersion = { name: 'schema-set-version', text: 'UPDATE ospd.meta SET version = $1' }

const readSettings = {
  name: 'settings',
  text: `SELECT name, setting FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'default_transaction_isolation')`,
}

const limitWaiting = {
  name: 'migration-limits',
  // Not every operating system lets the database check whether the client still exists.
  text: `DO $$ BEGIN
    SET LOCAL lock_timeout = '500ms';
    BEGIN
      SET LOCAL client_connection_check_interval = '1s';
    EXCEPTION WHEN invalid_parameter_value THEN
    END;
  END $$`,
}

const readServers = {
  name: 'migration-servers',
  text: 'SELECT name, version FROM ospd.server WHERE NOT dead AND lease_until > clock_timestamp()',
}

/** The time for which a part of a migration tries to lock a table that other transactions use, and the time between two attempts. */
const lockMs = 60_000
const retryMs = 500

/**
 * Creates the schema, or migrates it to the version of the last of these migrations. If it fails or its process is killed, the
 * schema can still be used in its previous version, and another call continues. Resolves with the previous version; 0 if there
 * was no schema. Rejects with OspError `data-format` if the schema has a later version, or if a running server does not support
 * the new one, and with `timed-out` if other transactions do not release a table.
 */
export async function migrate(database: Database, all: readonly Migration[] = migrations): Promise<number> {
  const from = await database.transaction(async (queries) => {
    const version = await versionOf(queries)
    if (version > all.length) throw unknownVersion(version, all.length)
    if (version > 0 && version < all.length) await checkServers(queries, all.length)
    return version
  })
  let hasRun = false
  for (const [at, parts] of all.entries()) {
    if (at < from) continue
    for (const [number, part] of parts.entries()) {
      hasRun = (await run(database, { to: at + 1, part, isLast: number === parts.length - 1 })) || hasRun
    }
  }
  // Otherwise another process has migrated the schema meanwhile.
  return hasRun ? from : all.length
}

interface MigrationPart {
  /** The version of the schema after the last part. */
  readonly to: number
  readonly part: string
  readonly isLast: boolean
}

/**
 * Runs a part in a transaction. A statement that waits for a table makes all later statements on this table wait. It therefore
 * gives up after half a second, and the part starts over. Resolves with false if another process has migrated the schema.
 */
async function run(database: Database, part: MigrationPart): Promise<boolean> {
  const untilMs = performance.now() + lockMs
  for (;;) {
    try {
      return await database.transaction((queries) => runIn(queries, part))
    } catch (error) {
      if (!isLockConflict(error)) throw error
      if (performance.now() > untilMs) {
        const text = `a migration could not lock a table of the database for ${lockMs / 1_000} s; end the transactions that use it, and run the migration again`
        throw new OspError('timed-out', text, { cause: error })
      }
      await pause(retryMs)
    }
  }
}

async function runIn(queries: Queries, { to, part, isLast }: MigrationPart): Promise<boolean> {
  await queries.query(lockMigration)
  if ((await versionOf(queries)) >= to) return false
  await queries.query(limitWaiting)
  await queries.query({ name: '', text: part })
  if (isLast) await queries.query(writeVersion, [to])
  return true
}

/** Rejects with OspError `data-format` if a running server does not support this version of the schema. */
async function checkServers(queries: Queries, to: number): Promise<void> {
  const servers = await queries.query<{ name: string; version: string }>(readServers)
  const old = servers.find(({ version }) => Number(version) + 1 < to)
  if (!old) return
  const text = `the server ${old.name} is running and supports the schema only up to version ${Number(old.version) + 1}; upgrade or stop it before you migrate the schema to version ${to}`
  throw new OspError('data-format', text)
}

/**
 * Rejects with OspError `data-format` if the schema is missing or has a version that code for the version `known` does not
 * support, or if the settings of the database allow it to lose committed transactions. A migration only adds to the schema, so
 * the code supports the next version as well.
 */
export async function checkSchema(database: Queries, known: number = schemaVersion): Promise<void> {
  const version = await versionOf(database)
  if (version === 0) throw noSchema()
  if (version < known) {
    const text = `the schema of the database has version ${version}, but this ospd needs version ${known}; run "ospd cluster migrate" of this ospd first`
    throw new OspError('data-format', text)
  }
  if (version > known + 1) throw unknownVersion(version, known)
  const settings = await database.query<{ name: string; setting: string }>(readSettings)
  checkSettings(new Map(settings.map(({ name, setting }) => [name, setting])))
}

/** Throws OspError `data-format` if acknowledged data could be lost, or if statements would not see the latest commits. */
export function checkSettings(settings: ReadonlyMap<string, string>): void {
  for (const name of ['fsync', 'full_page_writes', 'synchronous_commit']) {
    if (settings.get(name) !== 'off') continue
    throw new OspError('data-format', `the database can lose committed transactions: ${name} is off; turn it on`)
  }
  const isolation = settings.get('default_transaction_isolation')
  if (isolation === 'read committed') return
  const text = `default_transaction_isolation of the database is "${isolation}"; set it to "read committed" for the user of ospd`
  throw new OspError('data-format', text)
}

/** Resolves with the ids of the shared directory, or with undefined if there is no schema. */
export async function findDirectoryIds(database: Queries): Promise<DirectoryIds | undefined> {
  if ((await versionOf(database)) === 0) return undefined
  const statement = { name: 'schema-files', text: 'SELECT files, directory FROM ospd.meta' }
  const [meta] = await database.query<{ files: string; directory: string | null }>(statement)
  return meta && { cluster: meta.files, directory: meta.directory ?? undefined }
}

/** Resolves with the ids of the shared directory. Rejects with OspError `data-format` if there is no schema. */
export async function directoryIds(database: Queries): Promise<DirectoryIds> {
  const ids = await findDirectoryIds(database)
  if (ids === undefined) throw noSchema()
  return ids
}

const setDirectory = {
  name: 'schema-set-directory',
  text: 'UPDATE ospd.meta SET directory = $1 WHERE directory IS NULL',
}

/** Records the id of the directory, unless the cluster has one. */
export async function recordDirectory(database: Queries, id: string): Promise<void> {
  await database.query(setDirectory, [id])
}

const noSchema = () => new OspError('data-format', 'the database has no schema "ospd"; run "ospd cluster init" first')

async function versionOf(queries: Queries): Promise<number> {
  const [there] = await queries.query<{ found: boolean }>(findSchema)
  if (!there?.found) return 0
  const [meta] = await queries.query<{ version: number }>(readVersion)
  return meta?.version ?? 0
}

function unknownVersion(version: number, known: number): OspError {
  const text = `the schema of the database has version ${version}, but this ospd supports only the versions ${known} and ${known + 1}; use a newer ospd`
  return new OspError('data-format', text)
}
