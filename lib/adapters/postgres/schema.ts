import { OspError } from '../../errors.ts'
import type { DirectoryIds } from '../disk/sharedFiles.ts'
import type { Database, Queries } from './database.ts'
import { migrations } from './migrations.ts'

/** The version of the schema that this code creates. */
export const schemaVersion = migrations.length

const lockMigration = { name: 'migration-lock', text: "SELECT pg_advisory_xact_lock(hashtext('ospd migration'))" }

const findSchema = { name: 'schema-find', text: "SELECT to_regclass('ospd.meta') IS NOT NULL AS found" }

const readVersion = { name: 'schema-version', text: 'SELECT version FROM ospd.meta' }

const writeVersion = { name: 'schema-set-version', text: 'UPDATE ospd.meta SET version = $1' }

const readSettings = {
  name: 'settings',
  text: `SELECT name, setting FROM pg_settings
    WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'default_transaction_isolation')`,
}

/** Creates the schema or migrates it to `schemaVersion`. Resolves with the previous version; 0 if there was no schema. */
export async function migrate(database: Database): Promise<number> {
  return database.transaction(async (queries) => {
    await queries.query(lockMigration)
    const from = await versionOf(queries)
    if (from > schemaVersion) throw unknownVersion(from)
    for (const [at, text] of migrations.entries()) {
      if (at >= from) await queries.query({ name: '', text })
    }
    if (from < schemaVersion) await queries.query(writeVersion, [schemaVersion])
    return from
  })
}

/**
 * Rejects with OspError `data-format` if the schema is missing or has a version that this code does not know, or if the settings
 * of the database allow it to lose committed transactions. A migration only adds to the schema, so this code can use the next
 * version as well.
 */
export async function checkSchema(database: Queries): Promise<void> {
  const version = await versionOf(database)
  if (version === 0) throw noSchema()
  if (version < schemaVersion) {
    const text = `the schema of the database has version ${version}, but this ospd needs version ${schemaVersion}; run "ospd cluster migrate" first`
    throw new OspError('data-format', text)
  }
  if (version > schemaVersion + 1) throw unknownVersion(version)
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

function unknownVersion(version: number): OspError {
  const text = `the schema of the database has version ${version}, but this ospd supports only version ${schemaVersion}; use a newer ospd`
  return new OspError('data-format', text)
}
