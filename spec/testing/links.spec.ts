import { memory } from '../../lib/adapters/memory/memoryStorage.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { LocalLinks } from '../../lib/server/connections/localLinks.ts'
import { type LinksLocation, linksContract } from '../../lib/testing.ts'
import { runTestCases } from '../support/runTestCases.ts'

async function open(): Promise<LinksLocation> {
  const storage = memory()
  const platform = nodePlatform()
  return {
    async server(events) {
      await storage.open(platform)
      const { mailboxes } = storage
      const links = new LocalLinks()
      links.watch(events)
      await links.open(platform, mailboxes)
      return { links, mailboxes, close: () => storage[Symbol.asyncDispose]() }
    },
    [Symbol.asyncDispose]: () => storage[Symbol.asyncDispose](),
  }
}

runTestCases(linksContract('LocalLinks', open, { several: false }))
