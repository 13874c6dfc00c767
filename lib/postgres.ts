/** Several servers as one service: records, messages and presence in a PostgreSQL database, files in a shared directory. */

import { denyAll } from './adapters/auth/unverified.ts'
import type { UserList } from './adapters/auth/usersFile.ts'
import { type ImportEvents, type ImportOutcome, importData } from './adapters/cluster/clusterImport.ts'
import { ClusterStorage } from './adapters/cluster/clusterStorage.ts'
import { ClusterUserList, ClusterUsers } from './adapters/cluster/clusterUsers.ts'
import { FilesCheck } from './adapters/cluster/filesCheck.ts'
import type { ServerState, Steps } from './adapters/cluster/steps.ts'
import { DataDirectory } from './adapters/disk/dataDirectory.ts'
import { ImportedFiles } from './adapters/disk/importedFiles.ts'
import {
  checkSharedFiles,
  createSharedFiles,
  type DirectoryIds,
  findSharedFiles,
  SharedFiles,
} from './adapters/disk/sharedFiles.ts'
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import { type ClusterCheck, testConditions } from './adapters/postgres/checks.ts'
import { Database, type DatabaseOptions } from './adapters/postgres/database.ts'
import { postgresSteps, stepsOn } from './adapters/postgres/postgresSteps.ts'
import { directoryIds, findDirectoryIds, migrate, recordDirectory, schemaVersion } from './adapters/postgres/schema.ts'
import { checkArgument, checkOptions, kinds, optional } from './options.ts'
import type { Authenticator } from './ports/authenticator.ts'
import type { LinkDirectory } from './ports/links.ts'
import type { Log } from './ports/log.ts'
import type { Storage } from './ports/storage.ts'

export type { KnownUser, UserList } from './adapters/auth/usersFile.ts'
export type { ImportFault, ImportOutcome, ImportTotals } from './adapters/cluster/clusterImport.ts'
export type { ServerState } from './adapters/cluster/steps.ts'
export type { ClusterCheck } from './adapters/postgres/checks.ts'

/** The database and the directory of a cluster. */
export interface ClusterLocation {
  /** The URL of the database as in libpq: `postgres://user:password@host:port/database`. */
  readonly database: string
  /** The shared directory of files. */
  readonly files: string
}

export interface PostgresClusterOptions extends ClusterLocation {
  /** The name and the address of this server, for operators. */
  readonly name: string
  readonly address: string
  /** Authenticates clients until the first user is added to the cluster; by default it rejects all of them. */
  readonly otherwise?: Authenticator
  /** Takes log entries about the database and the servers of the cluster (docs/log.md). It must not throw. */
  readonly log?: Log
}

/** The options of `serve` for one server of a cluster. */
export interface PostgresCluster {
  readonly storage: Storage
  readonly links: LinkDirectory
  /** Accepts the users of the database, with their tokens. */
  readonly authenticator: Authenticator
  /**
   * Returns the reason why this server is not ready for clients, as a sentence without paths, or `undefined` if it is ready. It
   * is not ready if less than half of its lease is left, or if the shared directory cannot be used or has not responded for 5 s.
   * Use it as a check of `Readiness` (`ospd/node`). The first call after the server has joined starts checks of the directory
   * every 2 s.
   */
  problem(): string | undefined
  /** Records the address on which this server really listens. `clusterServers` returns it after the next renewal of the lease. */
  listensOn(address: string): void
}

/**
 * Returns the storage, links and users of one server of a cluster. Each server calls it once and passes the result to `serve`,
 * which opens and closes it. Opening rejects with OspError `data-format` if `createCluster` has not prepared the database and the
 * directory, or if the settings of the database allow it to lose committed transactions, and with `usage` if the package `pg` is
 * not installed.
 */
export function postgresCluster(options: PostgresClusterOptions): PostgresCluster {
  const { text, path, authenticator } = kinds
  const known = { database: text, files: path, name: text, address: text }
  checkOptions(
    'postgresCluster',
    { ...known, otherwise: optional(authenticator), log: optional(kinds.function) },
    options,
  )
  const { database: url, files, name, address, otherwise = denyAll(), log } = options
  const info = { name, address, version: String(schemaVersion) }
  let knownIds: DirectoryIds | undefined
  const ids = async () => {
    knownIds ??= await using(url, directoryIds)
    return knownIds
  }
  const storage = new ClusterStorage(
    postgresSteps({ url }),
    info,
    (claims, digests) => new SharedFiles(files, ids, claims, digests),
    log,
  )
  const { links, member } = storage
  let filesCheck: FilesCheck | undefined
  const problem = () => {
    const reason = member.problem
    if (reason !== undefined) return reason
    filesCheck ??= new FilesCheck(
      async () => checkSharedFiles(files, await ids()),
      member.platform.clock,
      member.closing,
    )
    return filesCheck.problem
  }
  const listensOn = (listening: string) => member.listensOn(listening)
  return { storage, links, authenticator: new ClusterUsers(member, otherwise), problem, listensOn }
}

/** The result of `createCluster` or `migrateCluster`. */
export interface ClusterChange {
  /** The previous version of the schema; 0 if there was none. */
  readonly from: number
  readonly to: number
}

/** What `createCluster` has done. */
export interface ClusterCreation extends ClusterChange {
  /** Whether the directory has been initialized now. */
  readonly isNewDirectory: boolean
}

/**
 * Creates the schema `ospd` in the database and initializes the directory. It is safe to repeat the call. Rejects with
 * OspError `data-format`, and creates nothing, if the directory belongs to another cluster or contains other files, or if the cluster has another directory.
 */
export async function createCluster({ database, files }: ClusterLocation): Promise<ClusterCreation> {
  return await migrating(database, async (opened) => {
    const found = await findSharedFiles(files, await findDirectoryIds(opened))
    const from = await migrate(opened)
    await recordDirectory(opened, await createSharedFiles(files, await directoryIds(opened)))
    // Another call may have recorded another directory.
    await checkSharedFiles(files, await directoryIds(opened))
    return { from, to: schemaVersion, isNewDirectory: found === undefined }
  })
}

/**
 * Migrates the schema of the database to the version that this code uses. Running servers that use the previous version continue.
 * Rejects with OspError `data-format`, and changes nothing, if the schema has a later version, or if a running server is too old
 * for the new one.
 */
export async function migrateCluster(database: string): Promise<ClusterChange> {
  return await migrating(database, async (opened) => ({ from: await migrate(opened), to: schemaVersion }))
}

/** Tests the conditions that a cluster requires of its database and its directory. */
export async function checkCluster(location: ClusterLocation): Promise<readonly ClusterCheck[]> {
  return await using(location.database, (opened) => testConditions(opened, location.files))
}

export interface ClusterImportOptions extends ClusterLocation, ImportEvents {
  /** The data directory of the server. No server may use it. */
  readonly data: string
}

/**
 * Copies the data of a server into a cluster: users, files, unfinished uploads, messages and the ids of sent messages. Files are
 * hard-linked if both directories are on the same file system, and otherwise copied and compared. The data directory is not
 * changed. If the import is interrupted, another call continues it; until it has finished, no server of the cluster starts.
 * Rejects with OspError `data-locked` if the data directory is in use or a server of the cluster is running, `data-format` if a
 * directory or the database is not of the required kind, the data directory has changed since the import began, or another import
 * is not finished, and `name-conflict` if the cluster already has data of a user of the data directory.
 */
export async function importIntoCluster(options: ClusterImportOptions): Promise<ImportOutcome> {
  const { database, files, data, ...events } = options
  const known = { database: kinds.text, files: kinds.path, data: kinds.path }
  const listeners = { progress: optional(kinds.function), found: optional(kinds.function) }
  checkOptions('importIntoCluster', { ...known, ...listeners }, options)
  const platform = nodePlatform()
  const ids = await using(database, directoryIds)
  const target = await ImportedFiles.open(files, ids, platform.digests)
  return await withSteps(database, async (steps) => {
    await using source = await DataDirectory.open(data, platform)
    return await importData({ steps, files: target, source, clock: platform.clock }, events)
  })
}

/** Resolves with the servers of a cluster. Dead servers are listed until another server has removed them. */
export async function clusterServers(database: string): Promise<readonly ServerState[]> {
  const servers = await withSteps(database, (steps) => steps.servers())
  return servers.map((server) => {
    const { address } = server.status
    return typeof address === 'string' ? { ...server, address } : server
  })
}

/** Calls `use` with the users of a cluster. */
export async function withClusterUsers<T>(database: string, use: (users: UserList) => Promise<T>): Promise<T> {
  checkArgument('withClusterUsers', 'the database', kinds.text, database)
  return await withSteps(database, (steps) =>
    use(new ClusterUserList(steps, () => steps.tell('all', { kind: 'users' }))),
  )
}

/** Calls `use` with open steps. Errors of the connection name the database. */
async function withSteps<T>(url: string, use: (steps: Steps) => Promise<T>): Promise<T> {
  const database = new Database({ url, connections: 2 })
  await using steps = stepsOn(database)
  await steps.open()
  return await database.reach(() => use(steps))
}

/** The timeout of a statement that changes the schema, which may read all rows of a table. */
const migrationMs = 3_600_000

const migrating = <T>(url: string, use: (database: Database) => Promise<T>) =>
  using(url, use, { statementMs: migrationMs })

async function using<T>(
  url: string,
  use: (database: Database) => Promise<T>,
  options: Omit<DatabaseOptions, 'url'> = {},
): Promise<T> {
  await using database = new Database({ url, connections: 2, ...options })
  await database.open()
  return await database.reach(() => use(database))
}
