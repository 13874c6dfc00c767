import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { OutcomeUnknown } from '../../../lib/adapters/cluster/steps.ts'
import { Database, type DatabaseOptions } from '../../../lib/adapters/postgres/database.ts'
import { databaseMissing, testDatabase } from '../../support/postgres.ts'
import { root } from '../../support/source.ts'
import { spec } from '../../support/spec.ts'

const statement = (text: string) => ({ name: text.slice(0, 60), text })

async function opened(options: DatabaseOptions): Promise<Database> {
  const database = new Database(options)
  await database.open()
  return database
}

/** Returns a statement that fails with this SQLSTATE. */
const failing = (code: string) => ({
  name: '',
  text: `DO $$ BEGIN RAISE EXCEPTION 'as requested' USING ERRCODE = '${code}'; END $$`,
})

spec('a database without its client library', (it) => {
  it('cannot be opened, and the error names the package to install', () => {
    const hook = `export const resolve = (name, context, next) =>
      name === 'pg' ? Promise.reject(Object.assign(new Error('no pg'), { code: 'ERR_MODULE_NOT_FOUND' })) : next(name, context)`
    const source = `
      import { register } from 'node:module'
      register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}))
      const { Database } = await import(${JSON.stringify(join(root, 'lib/adapters/postgres/database.ts'))})
      const error = await new Database({ url: 'postgres://nowhere' }).open().catch((error) => error)
      console.log(error.code + ': ' + error.message)`
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', source],
      { cwd: root, encoding: 'utf8' },
    )
    assert.match(stdout, /^usage: .*npm install pg/u, stderr)
  })
})

spec('a database that does not listen', (it) => {
  it('rejects a step with an unknown outcome', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    await new Promise((resolve) => server.close(resolve))
    await using database = await opened({ url: `postgres://ospd@127.0.0.1:${port}/ospd` })
    await assert.rejects(database.query(statement('SELECT 1')), OutcomeUnknown)
  })
})

spec('a database', (it) => {
  if (databaseMissing !== undefined) return it.skip('runs statements', databaseMissing)

  it('returns large numbers as numbers', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    const rows = await database.query(
      statement('SELECT $1::bigint AS one, ARRAY[$1::bigint, 7] AS more, 0.5::float8 AS half'),
      [2 ** 53 - 1],
    )
    assert.deepEqual(rows, [{ one: 2 ** 53 - 1, more: [2 ** 53 - 1, 7], half: 0.5 }])
  })

  it('runs transactions atomically', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    await at.sql('CREATE TABLE t (n int)')
    const insert = statement('INSERT INTO t VALUES ($1)')
    await assert.rejects(
      database.transaction(async ({ query }) => {
        await query(insert, [1])
        throw new Error('as requested')
      }),
    )
    const result = await database.transaction(async ({ query }) => {
      await query(insert, [2])
      return 'done'
    })
    assert.equal(result, 'done')
    assert.deepEqual(await at.sql('SELECT n FROM t'), [{ n: 2 }])
  })

  it('rejects with an unknown outcome if a step can be repeated', async () => {
    await using at = await testDatabase()
    await using database = await opened({ ...at, statementMs: 50 })
    for (const code of ['40001', '40P01', '57P01', '08006', '25006', '53300']) {
      await assert.rejects(database.query(failing(code)), OutcomeUnknown, code)
    }
    await assert.rejects(database.query(statement('SELECT pg_sleep(600)')), OutcomeUnknown)
    await assert.rejects(database.query(statement('SELECT pg_terminate_backend(pg_backend_pid())')), OutcomeUnknown)
    assert.deepEqual(await database.query(statement('SELECT 1 AS one')), [{ one: 1 }])
  })

  it('closes a connection to a standby, and keeps a connection after other refusals', async () => {
    await using at = await testDatabase()
    await using database = await opened({ ...at, connections: 1 })
    const backend = async () => (await database.query(statement('SELECT pg_backend_pid() AS pid')))[0]?.pid
    const first = await backend()
    await assert.rejects(database.query(failing('22012')))
    assert.equal(await backend(), first)
    await assert.rejects(database.query(failing('25006')))
    assert.notEqual(await backend(), first)
  })

  it('rejects with `disk-full` if its disk is full, and otherwise with `internal`', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    await assert.rejects(database.query(failing('53100')), { code: 'disk-full' })
    await assert.rejects(database.query(failing('22012')), { code: 'internal', message: /22012/u })
  })

  it('rejects with `closed` once it is closed', async () => {
    await using at = await testDatabase()
    const database = await opened(at)
    await database[Symbol.asyncDispose]()
    await assert.rejects(database.query(statement('SELECT 1')), { code: 'closed' })
  })
})
