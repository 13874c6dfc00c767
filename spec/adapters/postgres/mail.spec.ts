import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { mailSuites } from '../cluster/contract/mailSuites.ts'
import { emptyStore } from './stores.ts'

for (const [subject, checks] of mailSuites) {
  runTestCases(testCasesOf(subject.replace('shared store', 'database'), checks, emptyStore, databaseMissing))
}
