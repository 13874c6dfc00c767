import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { serverSuites } from '../cluster/contract/servers.ts'
import { transferSuites } from '../cluster/contract/transfers.ts'
import { emptyStore } from './stores.ts'

for (const [subject, checks] of [...serverSuites, ...transferSuites]) {
  const inPostgres = subject.replace('shared store', 'shared store in PostgreSQL')
  runTestCases(testCasesOf(inPostgres, checks, emptyStore, databaseMissing))
}
