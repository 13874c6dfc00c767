import assert from 'node:assert/strict'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { decodeBody } from '../../../lib/wire/messageBody.ts'
import { alteredSteps } from '../../adapters/cluster/alteredSteps.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const fileOf = (size: number) => ({ name: 'a', bytes: patterned(size), modifiedAt: size })
const [earlier, newer] = [fileOf(1_000), fileOf(2_000)]

async function put(client: FileClient, file: typeof earlier): Promise<void> {
  await client.put(file)
}

async function upload(client: FileClient, file: typeof earlier): Promise<void> {
  const { instance } = await client.start(file)
  await client.chunk(instance, 0, file.bytes)
  await client.end(instance, sha256(file.bytes))
}

/** Adds the size of each file whose message a server stores. */
const counted = (own: Steps, sizes: number[]): Steps => ({
  ...own,
  mail: {
    ...own.mail,
    post: async (server, messages, ...given) => {
      const result = await own.mail.post(server, messages, ...given)
      for (const [at, { content }] of messages.entries())
        if (result.outcomes[at] === undefined) sizes.push(decodeBody(content).attributes.file?.size ?? 0)
      return result
    },
  },
})

const ways = [
  ['a small file', put],
  ['an upload', upload],
] as const

spec('the message about a file that another server replaces', (it) => {
  for (const [what, replace] of ways) {
    for (const [former, step, send] of [
      ['a small file', 'mail.post', put],
      ['a small file', 'transfers.settle', put],
      ['an upload', 'mail.post', upload],
      ['an upload', 'transfers.complete', upload],
    ] as const) {
      it(`is stored before that of ${what}, and once, if ${former} was stopped before ${step}`, async () => {
        await using cluster = await ClusterServers.create()
        const sizes: number[] = []
        const [reached, released] = [deferred<void>(), deferred<void>()]
        const options = { notify: [{ user: 'ingest' }] }
        const first = await cluster.start(options, (own) =>
          alteredSteps(counted(own, sizes), async (name, run) => {
            if (name === step) {
              reached.resolve()
              await released.promise
            }
            return run()
          }),
        )
        const second = await cluster.start(options, (own) => counted(own, sizes))
        const sending = send(await cluster.client(first, { session: 'one' }), earlier).catch(() => {})
        await reached.promise
        await replace(await cluster.client(second, { session: 'one' }), newer)
        while (!sizes.includes(newer.bytes.length)) await turn()
        released.resolve()
        await sending
        assert.deepEqual(sizes, [1_000, 2_000])
        assert.deepEqual(await cluster.directory.read('alice', 'a'), newer.bytes)
      })
    }
  }
})
