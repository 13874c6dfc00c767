import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { clientChecks } from '../cluster/contract/clients.ts'
import { emptyStore } from './stores.ts'

async function open() {
  const store = await emptyStore()
  const steps = () => postgresSteps({ url: store.url, connections: 4 })
  return { steps, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
}

runTestCases(testCasesOf('clients of two servers on PostgreSQL', clientChecks, open, databaseMissing))
