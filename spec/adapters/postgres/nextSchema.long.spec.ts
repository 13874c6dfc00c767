import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { mailSuites } from '../cluster/contract/mailSuites.ts'
import { serverSuites } from '../cluster/contract/servers.ts'
import { transferSuites } from '../cluster/contract/transfers.ts'
import { nextMigrations } from './nextSchema.ts'
import { emptyStore } from './stores.ts'

// A server works with the next version of the schema.
const open = () => emptyStore(nextMigrations)
for (const [subject, checks] of [...serverSuites, ...transferSuites, ...mailSuites]) {
  const inNext = subject.replace('shared store', 'shared store with the next version of the schema')
  runTestCases(testCasesOf(inNext, checks, open, databaseMissing))
}
