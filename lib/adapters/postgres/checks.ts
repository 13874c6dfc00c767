import { randomUUID } from 'node:crypto'
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { deferred } from '../../runtime/deferred.ts'
import { checkSharedFiles } from '../disk/sharedFiles.ts'
import type { Database } from './database.ts'
import { PostgresNotices } from './notices.ts'
import { checkSchema, filesId } from './schema.ts'

/** A condition that a cluster requires, and whether it is met. */
export interface ClusterCheck {
  readonly condition: string
  readonly holds: boolean
  /** Whether servers refuse to start if it is not met. */
  readonly required: boolean
  /** A measured value, or the reason why it is not met. */
  readonly detail?: string
}

/** The time within which a notification must arrive. */
const noticeMs = 2_000
/** The number of commits that are measured. */
const commits = 20

/** Tests the conditions one after another. A condition that cannot be tested counts as not met. */
export async function testConditions(database: Database, files: string): Promise<readonly ClusterCheck[]> {
  const results: ClusterCheck[] = []
  for (const { condition, required = true, test } of conditions(database, files)) {
    try {
      const detail = await test()
      results.push({ condition, required, holds: true, ...(detail !== undefined && { detail }) })
    } catch (error) {
      results.push({ condition, required, holds: false, detail: OspError.from(error).message })
    }
  }
  return results
}

interface Condition {
  readonly condition: string
  readonly required?: boolean
  /** Resolves with a measured value, if there is one. Rejects if the condition is not met. */
  test(): Promise<string | undefined>
}

function conditions(database: Database, files: string): readonly Condition[] {
  return [
    {
      condition: 'the database has the schema, and its settings are safe',
      test: () => checkSchema(database).then(() => undefined),
    },
    { condition: 'the database commits transactions', test: () => commitTime(database) },
    { condition: 'the database delivers notifications', required: false, test: () => noticeTime(database) },
    { condition: 'a failover of the database loses no commits', required: false, test: () => standby(database) },
    {
      condition: 'the directory belongs to this cluster',
      test: async () => checkSharedFiles(files, await filesId(database)).then(() => undefined),
    },
    {
      condition: 'the directory supports atomic renames and hard links',
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
