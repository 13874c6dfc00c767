import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import type { SharedStoreFixture } from '../cluster/contract/fixture.ts'
import { mailSuites } from '../cluster/contract/mailSuites.ts'
import { serverSuites } from '../cluster/contract/servers.ts'
import { transferSuites } from '../cluster/contract/transfers.ts'

async function open(): Promise<SharedStoreFixture> {
  const store = new MemorySharedStore(nodePlatform())
  return {
    async connect() {
      const steps = store.steps()
      await steps.open()
      return steps
    },
    async [Symbol.asyncDispose]() {},
  }
}

for (const [subject, checks] of [...serverSuites, ...transferSuites, ...mailSuites]) {
  runTestCases(testCasesOf(subject.replace('shared store', 'shared store in memory'), checks, open))
}
