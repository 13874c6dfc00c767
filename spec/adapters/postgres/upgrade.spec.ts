import assert from 'node:assert/strict'
import type { QueryResultRow } from 'pg'
import pg from 'pg'
import { Database, type Statement } from '../../../lib/adapters/postgres/database.ts'
import { migrations } from '../../../lib/adapters/postgres/migrations.ts'
import { stepsOn } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { checkSchema, migrate } from '../../../lib/adapters/postgres/schema.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs, newSession } from '../cluster/contract/fixture.ts'
import { mailServer } from '../cluster/contract/mail.ts'
import { postUntil, receivedFrom } from './mailLoad.ts'
import { countersOf, type MailRig, mailRig } from './mailRig.ts'
import { nextMigrations } from './nextSchema.ts'
import { answered, claimed, uploadUntil } from './uploadLoad.ts'

/** A database as a later release uses it: with the functions that `nextMigration` adds. */
class NextDatabase extends Database {
  override query<Row extends QueryResultRow>({ name, text }: Statement, values?: readonly unknown[]): Promise<Row[]> {
    const next = text.replace('ospd.post_1(', 'ospd.post_2(').replace('ospd.complete_2(', 'ospd.complete_3(')
    return super.query({ name: next === text ? name : `${name}-next`, text: next }, values)
  }
}

/** Timeouts for a busy machine. */
const patient = { connectMs: 60_000, statementMs: 60_000 }

/** Adds a server that uses the database. */
async function serverOf(database: Database) {
  const steps = stepsOn(database)
  await steps.open()
  const mail = await mailServer({ connect: async () => steps, async [Symbol.asyncDispose]() {} })
  const by = mail.link('alice', mail.server, newSession())
  await steps.openSession(by, 1)
  return { ...mail, steps, by }
}

type Server = Awaited<ReturnType<typeof serverOf>>

/** Posts messages and completes uploads until `isOver`. Checks then that all of them are there, in their order. */
function working(rig: MailRig, server: Server, name: string, isOver: () => boolean) {
  const done: string[] = []
  const posting = postUntil(rig, server, name, isOver)
  const uploading = uploadUntil(server.steps, server.by, name, isOver, done)
  const check = async () => {
    const [due] = await Promise.all([posting, uploading])
    assert.deepEqual(await receivedFrom(server, name), due)
    const completed = await rig.sql<{ name: string }>('SELECT name FROM ospd.marker')
    const names = new Set(completed.map((marker) => marker.name))
    assert.deepEqual(
      done.filter((each) => !names.has(each)),
      [],
    )
  }
  return { done, check }
}

async function opened(url: string): Promise<Database> {
  const database = new Database({ url, ...patient })
  await database.open()
  return database
}

const passing = () => new Promise((resolve) => setImmediate(resolve))

spec('a migration of the schema to the next version', (it) => {
  if (databaseMissing !== undefined) return it.skip('keeps the servers of the previous one', databaseMissing)

  it('does not stop servers of the previous version, which continue beside those of the next one', async () => {
    await using rig = await mailRig()
    const { url } = rig.proxy
    const servers = [
      await serverOf(new Database({ url, ...patient })),
      await serverOf(new Database({ url, ...patient })),
    ]
    let isOver = false
    const works = servers.map((server, at) => working(rig, server, `first ${at}`, () => isOver))
    /** Lets each server complete further uploads. */
    const progress = async () => {
      const goals = works.map(({ done }) => done.length + 2)
      while (works.some(({ done }, at) => done.length < (goals[at] ?? 0))) await passing()
    }
    await progress()
    await using database = await opened(url)
    assert.equal(await migrate(database, nextMigrations), migrations.length)
    const [unchanged] = await rig.sql(`SELECT count(*)::int FROM information_schema.tables t WHERE table_schema = 'ospd'
      AND table_name <> 'added_call' AND NOT EXISTS (SELECT FROM information_schema.columns c
        WHERE c.table_schema = 'ospd' AND c.table_name = t.table_name AND c.column_name = 'added')`)
    assert.deepEqual(unchanged, { count: 0 })
    const next = await serverOf(new NextDatabase({ url, ...patient }))
    const late = await serverOf(new Database({ url, ...patient }))
    for (const server of [next, late]) works.push(working(rig, server, `server ${server.server}`, () => isOver))
    await progress()
    isOver = true
    for (const { check } of works) await check()
    const calls = await rig.sql('SELECT DISTINCT name FROM ospd.added_call ORDER BY name')
    assert.deepEqual(calls, [{ name: 'complete' }, { name: 'post' }])
    const { counted, found } = await countersOf(rig)
    assert.deepEqual(counted, found)
    await takeOver(next, late)
    await takeOver(late, next)
    for (const { steps } of [...servers, next, late]) await steps[Symbol.asyncDispose]()
  })

  /** Shows that one server continues what another one has begun. */
  async function takeOver(one: Server, other: Server): Promise<void> {
    const claim = await claimed(one.steps, one.by, 'shared')
    const checkpoints = [{ offset: 3, digest: Uint8Array.of(one.server) }]
    assert.deepEqual(await one.steps.transfers.checkpoint([{ claim, checkpoints, at: 5 }]), [true])
    await claimed(other.steps, other.by, 'shared')
    assert.deepEqual((await other.steps.transfers.record('alice', 'shared'))?.checkpoints, checkpoints)
    assert.deepEqual(await one.steps.transfers.checkpoint([{ claim, checkpoints: [], at: 6 }]), [false])
    await one.mail.listen(one.link('eve', one.server))
    const { former } = await other.mail.listen(other.link('eve', other.server))
    assert.deepEqual(former, { server: one.server, link: one.server })
  }

  it('waits for the transactions that use its tables, but does not make others wait for them', async () => {
    await using rig = await mailRig()
    const { steps } = await serverOf(new Database({ url: rig.proxy.url, ...patient }))
    await using database = await opened(rig.proxy.url)
    const long = new pg.Client(rig.proxy.url)
    await long.connect()
    await long.query('BEGIN; SELECT FROM ospd.transfer')
    let isOver = false
    const migrating = migrate(database, nextMigrations).finally(() => {
      isOver = true
    })
    const isWaiting = async () =>
      (await rig.sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"))
        .length > 0
    while (!(await isWaiting())) await passing()
    // It gives up, since the transaction does not end.
    await answered(() => steps.transfers.record('alice', 'a'))
    assert.equal(isOver, false)
    await checkSchema(database)
    await long.end()
    assert.equal(await migrating, migrations.length)
    await steps[Symbol.asyncDispose]()
  })

  it('leaves the schema in the previous version if its process is killed, and can be repeated', async () => {
    await using rig = await mailRig()
    const database = await opened(rig.proxy.url)
    const migrating = migrate(database, [
      ...migrations,
      [...nextMigrations.slice(-1).flat(), 'SELECT pg_sleep(600)', 'SELECT'],
    ])
    const rejected = assert.rejects(migrating)
    const sleeps = async () =>
      (await rig.sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"))
        .length > 0
    while (!(await sleeps())) await passing()
    // Ends the connections as the death of the process does.
    await rig.proxy[Symbol.asyncDispose]()
    await rejected
    await using direct = await opened(rig.url)
    const server = await serverOf(direct)
    await answered(() => claimed(server.steps, server.by, 'a'))
    assert.deepEqual(await rig.sql('SELECT version FROM ospd.meta'), [{ version: migrations.length }])
    assert.equal(await migrate(direct, nextMigrations), migrations.length)
  })

  it('is refused while a server runs that does not support it, and names the server', async () => {
    await using rig = await mailRig()
    await using database = await opened(rig.proxy.url)
    const { steps } = await serverOf(database)
    const info = { ...infoOf('the old one'), version: `${migrations.length}` }
    const old = await steps.enter(info, longMs)
    const all = [...nextMigrations, ['SELECT']]
    await assert.rejects(migrate(database, all), {
      code: 'data-format',
      message: /^the server the old one is running and supports the schema only up to version 4; upgrade or stop it/u,
    })
    await checkSchema(database, migrations.length)
    await steps.leave(old)
    assert.equal(await migrate(database, all), migrations.length)
    await assert.rejects(checkSchema(database, migrations.length), {
      code: 'data-format',
      message: /use a newer ospd$/u,
    })
  })
})
