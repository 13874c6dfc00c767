import { randomUUID } from 'node:crypto'
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { deferred } from '../../runtime/deferred.ts'
import { checkSharedFiles } from '../disk/sharedFiles.ts'
import type { Database } from './database.ts'
import { PostgresNotices } from './notices.ts'
import { checkSchema, directoryIds } from './schema.ts'

/** A condition that a cluster requires, and whether it is met. */
export interface ClusterCheck {
  readonly condition: string
  readonly holds: boolean
  /** Whether servers refuse to start if it is not met. */
  readonly required: boolean
  /** Whether it was tested. It is not tested if it depends on another condition that is not met. */
  readonly tested: boolean
  /** A measured value, or the reason why it is not met. */
  readonly detail?: string
}

/** The time within which a notification must arrive. */
const noticeMs = 2_000
/** The number of commits that are measured. */
const commits = 20

/**
 * Tests the conditions one after another. A condition that cannot be tested counts as not met. Conditions of the database are not
 * tested after it could not be reached, nor those of the directory if it does not belong to the cluster.
 */
export async function testConditions(database: Database, files: string): Promise<readonly ClusterCheck[]> {
  const results: ClusterCheck[] = []
  const unusable = new Set<Subject>()
  for (const condition of conditions(database, files)) {
    const missing = condition.needs.find((subject) => unusable.has(subject))
    const result = missing === undefined ? await resultOf(database, condition, unusable) : notTested(reasons[missing])
    if (!result.holds && condition.proves) unusable.add(condition.proves)
    results.push({ condition: condition.condition, required: condition.required ?? true, ...result })
  }
  return results
}

type Result = Omit<ClusterCheck, 'condition' | 'required'>

const notTested = (detail: string): Result => ({ holds: false, tested: false, detail })

/** Tests a condition. Adds the database to `unusable` if it cannot be reached. */
async function resultOf(database: Database, { test }: Condition, unusable: Set<Subject>): Promise<Result> {
  try {
    const detail = await database.reach(test)
    return { holds: true, tested: true, ...(detail !== undefined && { detail }) }
  } catch (error) {
    const { code, message: detail } = OspError.from(error)
    if (code === 'unreachable' || code === 'unauthorized') unusable.add('database')
    return { holds: false, tested: true, detail }
  }
}

/** What a condition is about. */
type Subject = 'database' | 'directory'

const reasons: Readonly<Record<Subject, string>> = {
  database: 'the database cannot be reached',
  directory: 'the directory is not known to belong to the cluster',
}

interface Condition {
  readonly condition: string
  readonly required?: boolean
  /** The condition is tested only if these are usable. */
  readonly needs: readonly Subject[]
  /** The subject that is unusable if the condition is not met. */
  readonly proves?: Subject
  /** Resolves with a measured value, if there is one. Rejects if the condition is not met. */
  test(): Promise<string | undefined>
}

function conditions(database: Database, files: string): readonly Condition[] {
  return [
    {
      condition: 'the database has the schema, and its settings are safe',
      needs: ['database'],
      test: () => checkSchema(database).then(() => undefined),
    },
    { condition: 'the database commits transactions', needs: ['database'], test: () => commitTime(database) },
    {
      condition: 'the database delivers notifications',
      required: false,
      needs: ['database'],
      test: () => noticeTime(database),
    },
    {
      condition: 'a failover of the database loses no commits',
      required: false,
      needs: ['database'],
      test: () => standby(database),
    },
    {
      condition: 'the directory belongs to this cluster',
      needs: ['database'],
      proves: 'directory',
      test: async () => checkSharedFiles(files, await directoryIds(database)).then(() => undefined),
    },
    {
      condition: 'the directory supports atomic renames and hard links',
      needs: ['directory'],
      test: () => tryFiles(files).then(() => undefined),
    },
  ]
}

/** Returns the median time of a commit that writes only to the write-ahead log. */
async function commitTime(database: Database): Promise<string> {
  const statement = { name: 'check-commit', text: "SELECT 1 FROM pg_logical_emit_message(true, 'ospd', 'check')" }
  const times: number[] = []
  for (let n = 0; n < commits; n++) {
    const began = performance.now()
    await database.query(statement)
    times.push(performance.now() - began)
  }
  const median = times.sort((a, b) => a - b)[commits / 2] ?? 0
  return `${median.toFixed(1)} ms`
}

/** A server number that no server has. */
const unusedServer = 0

async function noticeTime(database: Database): Promise<string> {
  await using notices = new PostgresNotices(database)
  const ended = new AbortController()
  const heard = deferred<void>()
  using _hearing = notices.hear(unusedServer, ({ kind }) => {
    if (kind === 'mail') heard.resolve()
  })
  const began = performance.now()
  const missing = pause(noticeMs, 'missing', { signal: ended.signal }).catch(() => 'ended')
  // The connection may not be listening yet, so the notification is repeated.
  const telling = setInterval(() => void notices.tell(unusedServer, { kind: 'mail', users: ['check'] }), 100)
  try {
    if ((await Promise.race([heard.promise, missing])) !== 'missing')
      return `${(performance.now() - began).toFixed(0)} ms`
  } finally {
    clearInterval(telling)
    ended.abort()
  }
  throw new OspError(
    'internal',
    `no notification arrived within ${noticeMs} ms; servers poll instead, which delays messages`,
  )
}

async function standby(database: Database): Promise<string | undefined> {
  const statement = {
    name: 'check-standby',
    text: `SELECT current_setting('synchronous_standby_names') AS names, current_setting('synchronous_commit') AS commit`,
  }
  const [row] = await database.query<{ names: string; commit: string }>(statement)
  const waits = row !== undefined && row.names !== '' && row.commit !== 'local'
  if (waits) return undefined
  const text = 'no synchronous standby is configured; a failover to an asynchronous standby can lose the latest commits'
  throw new OspError('data-format', text)
}

/** Tries the renames and hard links with which files are published. */
async function tryFiles(directory: string): Promise<void> {
  const place = join(directory, 'partial', `check-${randomUUID()}`)
  const [a, b] = [`${place}.a`, `${place}.b`]
  try {
    await writeFile(a, 'a', { flush: true })
    await rename(a, b)
    if ((await readFile(b, 'utf8')) !== 'a') throw new OspError('internal', 'the content of a renamed file has changed')
    await writeFile(a, 'c', { flush: true })
    const replaced = await link(a, b).then(
      () => true,
      ({ code }: NodeJS.ErrnoException) => {
        if (code !== 'EEXIST') throw new OspError('internal', `cannot create a hard link: ${code}`)
        return false
      },
    )
    if (replaced) throw new OspError('internal', 'creating a hard link has replaced a file')
    await rename(a, b)
    if ((await readFile(b, 'utf8')) !== 'c') throw new OspError('internal', 'a rename has not replaced the target file')
  } finally {
    for (const path of [a, b]) await rm(path, { force: true })
  }
}
