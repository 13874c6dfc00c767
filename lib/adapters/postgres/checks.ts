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

/** One condition that a cluster needs, and whether it holds. */
export interface ClusterCheck {
  readonly condition: string
  readonly holds: boolean
  /** Servers do not run without it. */
  readonly required: boolean
  /** A measured value, or the reason why it does not hold. */
  readonly detail?: string
}

/** The time within which a notification must arrive. */
const noticeMs = 2_000
/** The number of commits that are measured. */
const commits = 20

/** Tests the conditions one after another. A condition that cannot be tested does not hold. */
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
  /** Resolves with a measured value, if there is one. Rejects if the condition does not hold. */
  test(): Promise<string | undefined>
}

function conditions(database: Database, files: string): readonly Condition[] {
  return [
    {
      condition: 'the database has the schema, and keeps what it acknowledges',
      test: () => checkSchema(database).then(() => undefined),
    },
    { condition: 'the database commits', test: () => commitTime(database) },
    { condition: 'the database delivers notifications', required: false, test: () => noticeTime(database) },
    { condition: 'a fail-over of the database loses nothing', required: false, test: () => standby(database) },
    {
      condition: 'the directory belongs to this cluster',
      test: async () => checkSharedFiles(files, await filesId(database)).then(() => undefined),
    },
    { condition: 'the directory renames and links atomically', test: () => tryFiles(files).then(() => undefined) },
  ]
}

/** Returns the median time of a commit that changes nothing but the log. */
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

/** The number of no server. */
const nobody = 0

async function noticeTime(database: Database): Promise<string> {
  await using notices = new PostgresNotices(database)
  const ended = new AbortController()
  const heard = deferred<void>()
  using _hearing = notices.hear(nobody, ({ kind }) => {
    if (kind === 'mail') heard.resolve()
  })
  const began = performance.now()
  const missing = pause(noticeMs, 'missing', { signal: ended.signal }).catch(() => 'ended')
  // The listening connection may not be there yet, so the notification is repeated.
  const telling = setInterval(() => void notices.tell(nobody, { kind: 'mail', users: ['check'] }), 100)
  try {
    if ((await Promise.race([heard.promise, missing])) !== 'missing')
      return `${(performance.now() - began).toFixed(0)} ms`
  } finally {
    clearInterval(telling)
    ended.abort()
  }
  throw new OspError('internal', `none arrived within ${noticeMs} ms; servers poll instead, which delays messages`)
}

async function standby(database: Database): Promise<string | undefined> {
  const statement = {
    name: 'check-standby',
    text: `SELECT current_setting('synchronous_standby_names') AS names, current_setting('synchronous_commit') AS commit`,
  }
  const [row] = await database.query<{ names: string; commit: string }>(statement)
  const waits = row !== undefined && row.names !== '' && row.commit !== 'local'
  if (waits) return undefined
  const text = 'no synchronous standby is configured; a fail-over to an asynchronous one loses the latest commits'
  throw new OspError('data-format', text)
}

/** Plays the renames and links of publishing. */
async function tryFiles(directory: string): Promise<void> {
  const place = join(directory, 'partial', `check-${randomUUID()}`)
  const [a, b] = [`${place}.a`, `${place}.b`]
  try {
    await writeFile(a, 'a', { flush: true })
    await rename(a, b)
    if ((await readFile(b, 'utf8')) !== 'a') throw new OspError('internal', 'a renamed file has another content')
    await writeFile(a, 'c', { flush: true })
    const replaced = await link(a, b).then(
      () => true,
      ({ code }: NodeJS.ErrnoException) => {
        if (code !== 'EEXIST') throw new OspError('internal', `a link cannot be created: ${code}`)
        return false
      },
    )
    if (replaced) throw new OspError('internal', 'a link has replaced a file')
    await rename(a, b)
    if ((await readFile(b, 'utf8')) !== 'c') throw new OspError('internal', 'a rename has not replaced a file')
  } finally {
    for (const path of [a, b]) await rm(path, { force: true })
  }
}
