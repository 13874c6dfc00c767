import assert from 'node:assert/strict'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { checkSchema, checkSettings, migrate, schemaVersion } from '../../../lib/adapters/postgres/schema.ts'
import { databaseMissing, type TestDatabase, testDatabase } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'

async function opened(at: TestDatabase): Promise<Database> {
  const database = new Database({ url: at.url })
  await database.open()
  return database
}

spec('the settings of a database', (it) => {
  const durable = {
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    default_transaction_isolation: 'read committed',
  }

  it('are accepted if acknowledged data is durable', () => {
    for (const commits of ['on', 'local', 'remote_write', 'remote_apply']) {
      checkSettings(new Map(Object.entries({ ...durable, synchronous_commit: commits })))
    }
  })

  for (const name of ['fsync', 'full_page_writes', 'synchronous_commit']) {
    it(`are refused with ${name} off`, () => {
      const settings = new Map(Object.entries({ ...durable, [name]: 'off' }))
      assert.throws(() => checkSettings(settings), { code: 'data-format', message: new RegExp(`${name} is off`, 'u') })
    })
  }

  it('are refused if statements would not see the latest commits', () => {
    const settings = new Map(Object.entries({ ...durable, default_transaction_isolation: 'repeatable read' }))
    assert.throws(() => checkSettings(settings), { code: 'data-format', message: /repeatable read/u })
  })
})

spec('the schema of a database', (it) => {
  if (databaseMissing !== undefined) return it.skip('is created and checked', databaseMissing)

  it('is refused while it is missing, and accepted after it is created', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    await assert.rejects(checkSchema(database), { code: 'data-format', message: /no schema/u })
    assert.equal(await migrate(database), 0)
    await checkSchema(database)
    assert.equal(await migrate(database), schemaVersion)
  })

  it('is created once by several servers at the same time', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    const versions = await Promise.all([1, 2, 3].map(() => migrate(database)))
    // Each that has run a part of a migration has seen that there was no schema.
    assert.ok(versions.every((version) => version === 0 || version === schemaVersion) && versions.includes(0))
  })

  it('is accepted in the next version, and refused in later ones', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    await migrate(database)
    await at.sql('UPDATE ospd.meta SET version = version + 1')
    await checkSchema(database)
    await assert.rejects(migrate(database), { code: 'data-format' })
    // Code for the version after the next one.
    await assert.rejects(checkSchema(database, schemaVersion + 2), {
      code: 'data-format',
      message: /has version 4, but this ospd needs version 5; run "ospd cluster migrate" of this ospd first$/u,
    })
    await at.sql('UPDATE ospd.meta SET version = version + 1')
    await assert.rejects(checkSchema(database), { code: 'data-format', message: /use a newer ospd/u })
  })

  it('is refused in a database that loses acknowledged commits', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    await migrate(database)
    await at.sql(`ALTER DATABASE "${new URL(at.url).pathname.slice(1)}" SET synchronous_commit = off`)
    await using later = await opened(at)
    await assert.rejects(checkSchema(later), { code: 'data-format', message: /synchronous_commit is off/u })
  })

  it('is reported as missing by a step', async () => {
    await using at = await testDatabase()
    await using database = await opened(at)
    const statement = { name: 'any', text: 'SELECT FROM ospd.meta' }
    await assert.rejects(database.query(statement), { code: 'data-format' })
  })
})
