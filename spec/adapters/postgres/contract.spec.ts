import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { linksContract } from '../../../lib/testing.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { clusterLinks } from '../cluster/contract/links.ts'
import { serverSuites } from '../cluster/contract/servers.ts'
import { transferSuites } from '../cluster/contract/transfers.ts'
import { emptyStore } from './stores.ts'

for (const [subject, checks] of [...serverSuites, ...transferSuites]) {
  const inPostgres = subject.replace('shared store', 'shared store in PostgreSQL')
  runTestCases(testCasesOf(inPostgres, checks, emptyStore, databaseMissing))
}

/** Servers whose steps stay connected, for the next test case. */
async function openLinks() {
  const store = await emptyStore()
  const links = clusterLinks(async () => {
    const steps = await store.connect()
    return { ...steps, open: async () => {}, async [Symbol.asyncDispose]() {} }
  })
  return {
    ...links,
    async [Symbol.asyncDispose]() {
      await links[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}

if (databaseMissing === undefined) runTestCases(linksContract('a cluster on PostgreSQL', openLinks, { several: true }))
