import assert from 'node:assert/strict'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { emptyStore } from './stores.ts'

spec('the steps of a shared store in PostgreSQL', (it) => {
  it('are not opened if the database cannot be reached', async () => {
    // No server listens on port 1.
    await using steps = postgresSteps({ url: 'postgres://ospd@127.0.0.1:1/ospd' })
    await assert.rejects(steps.open(), { code: 'unreachable', message: /cannot be reached at 127\.0\.0\.1:1\/ospd: /u })
  })

  if (databaseMissing !== undefined) return it.skip('are refused once they are closed', databaseMissing)

  it('are refused once they are closed', async () => {
    await using store = await emptyStore()
    const steps = postgresSteps({ url: store.url })
    await assert.rejects(steps.servers(), { code: 'closed' })
    await steps.open()
    assert.deepEqual(await steps.servers(), [])
    await steps[Symbol.asyncDispose]()
    await steps[Symbol.asyncDispose]()
    await assert.rejects(steps.servers(), { code: 'closed' })
  })
})
