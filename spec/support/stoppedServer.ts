/**
 * A server of a cluster that is stopped shortly before it publishes files: `stoppedServer.ts DATABASE DIRECTORY`. Announces
 * `small` and verifies the upload `large` of alice, both with the content `old`, and prints `ready`. When its stdin ends,
 * publishes both, and prints the outcome of each step.
 */
import { createHash } from 'node:crypto'
import { ClusterStorage } from '../../lib/adapters/cluster/clusterStorage.ts'
import { DiskFiles } from '../../lib/adapters/disk/files.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { postgresSteps } from '../../lib/adapters/postgres/postgresSteps.ts'
import { claimed, fill, start } from '../../lib/testing/storage/steps.ts'

const [, , url = '', directory = ''] = process.argv
const platform = nodePlatform()
const storage = new ClusterStorage(
  postgresSteps({ url }),
  { name: 'stopped', version: '1', address: '' },
  (claims, digests) => new DiskFiles(layoutOf(directory), claims, async () => {}, digests, claims),
)
await storage.open(platform)
await storage.links.open()
const link = { node: storage.links.nextNode(), user: 'alice', session: '1'.repeat(32) }
await storage.links.openSession(link, 1)
const { transfers, files } = storage

const content = new TextEncoder().encode('old')
const digest = createHash('sha256').update(content).digest('hex')
const fileOf = (name: string) => {
  const file = { user: 'alice', name, storedName: name, replaced: false, size: 3, digest }
  return { ...file, algorithm: 'sha256' as const }
}
const small = await files.create('alice', [content])
const { version, source = '' } = small
await transfers.announceAll([{ file: fileOf('small'), version, modifiedAt: 1, source }], 60_000, link)
const owner = { node: link.node, instance: 1, session: link.session }
const { claim } = await claimed(storage, { name: 'large', size: 3 }, start, owner)
await fill(storage, claim, content)
await transfers.verified(claim, fileOf('large'))
const large = await files.open(claim)
console.log('ready')

process.stdin.resume().on('end', async () => {
  const outcome = async (step: string, work: () => Promise<unknown>) => {
    const result = await work().catch((error: Error) => (error as { code?: string }).code ?? error.message)
    console.log(`${step}: ${result}`)
  }
  await outcome('small', () => small.publish('small', true))
  await outcome('large', () => large.publish('large', true))
  await outcome('complete', () => transfers.complete(claim, 60_000))
  await small[Symbol.asyncDispose]()
  await outcome('settled', () => transfers.settled([{ user: 'alice', name: 'small', source, isStored: false }]))
  await storage[Symbol.asyncDispose]()
})
