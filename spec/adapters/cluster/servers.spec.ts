import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { testCasesOf } from '../../../lib/testing/testCases.ts'
import { linksContract } from '../../../lib/testing.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { clientChecks } from './contract/clients.ts'
import { clusterLinks } from './contract/links.ts'

async function open() {
  const store = new MemorySharedStore(nodePlatform())
  return { steps: () => store.steps(), async [Symbol.asyncDispose]() {} }
}

runTestCases(testCasesOf('clients of two servers of a cluster', clientChecks, open))

async function openLinks() {
  const store = new MemorySharedStore(nodePlatform())
  return clusterLinks(async () => store.steps())
}

runTestCases(linksContract('a cluster', openLinks, { several: true }))
