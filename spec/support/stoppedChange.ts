/**
 * A server of a cluster that is stopped while it removes or renames a file: `stoppedChange.ts DATABASE DIRECTORY CHANGE POINT`. Removes
 * the file `a` of alice, or renames it to `b`. Prints `ready` after it has recorded the change (`recorded`), before the link(2) that adds
 * the new name (`link`), or before the rename(2) that removes the former one (`rename`). Continues when its stdin ends, and prints the
 * outcome.
 */
import { once } from 'node:events'
import { ClusterStorage } from '../../lib/adapters/cluster/clusterStorage.ts'
import { DiskFiles } from '../../lib/adapters/disk/files.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import { quickCalls } from '../../lib/adapters/disk/quickCalls.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { postgresSteps } from '../../lib/adapters/postgres/postgresSteps.ts'

const [, , url = '', directory = '', change = '', point = ''] = process.argv
let isReached = false

async function reached(): Promise<void> {
  if (isReached) return
  isReached = true
  console.log('ready')
  await once(process.stdin.resume(), 'end')
}

const steps = postgresSteps({ url })
const begin = steps.files.begin.bind(steps.files)
Object.assign(steps.files, {
  async begin(...given: Parameters<typeof begin>) {
    const begun = await begin(...given)
    if (point === 'recorded') await reached()
    return begun
  },
})
const storage = new ClusterStorage(
  steps,
  { name: 'stopped', version: '2', address: '' },
  (claims, digests) => new DiskFiles(layoutOf(directory), claims, async () => {}, digests, claims),
)
await storage.open(nodePlatform())
const { link, rename } = quickCalls
quickCalls.link = async (from, to) => {
  if (point === 'link') await reached()
  return link(from, to)
}
quickCalls.rename = async (from, to) => {
  if (point === 'rename') await reached()
  return rename(from, to)
}
const { catalogue } = storage
const changing =
  change === 'remove' ? catalogue.remove('alice', 'a') : catalogue.rename('alice', 'a', 'b', { replace: false })
const outcome = await changing.catch((error: Error) => (error as { code?: string }).code ?? error.message)
console.log(`outcome: ${outcome}`)
await storage[Symbol.asyncDispose]()
