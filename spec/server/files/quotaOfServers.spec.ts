import assert from 'node:assert/strict'
import { codeOf } from '../../../lib/errors.ts'
import type { Limits } from '../../../lib/limits.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { alteredSteps } from '../../adapters/cluster/alteredSteps.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'

const sized = (name: string, size: number) => ({ name, bytes: patterned(size) })

/** Delays a step of the second server. */
class HeldStep {
  readonly reached = deferred<void>()
  readonly released = deferred<void>()
  /** The name of the step. */
  name: string | undefined

  async run<T>(name: string, step: () => Promise<T>): Promise<T> {
    if (name !== this.name) return step()
    this.name = undefined
    this.reached.resolve()
    await this.released.promise
    return step()
  }
}

/** Runs `proof` with a client of alice at each of two servers that share a storage. */
function withServers(
  limits: Partial<Limits>,
  proof: (one: FileClient, two: FileClient, held: HeldStep) => Promise<void>,
) {
  return async () => {
    await using cluster = await ClusterServers.create()
    const held = new HeldStep()
    const first = await cluster.start({ limits })
    const second = await cluster.start({ limits }, (steps) => alteredSteps(steps, (name, run) => held.run(name, run)))
    await proof(await cluster.client(first, { session: 'one' }), await cluster.client(second, { session: 'two' }), held)
  }
}

/** Starts an upload. Resolves with the code of its refusal, or `undefined`. */
async function started(client: FileClient, name: string, size: number) {
  client.sendStart(sized(name, size))
  const answer = await client.raw.next()
  if (answer.event === 'StartPostFileAck') return undefined
  assert.equal(answer.event, 'StartPostFileNack')
  return answer.event === 'StartPostFileNack' ? codeOf(answer.code) : undefined
}

spec('the quota of a user at two servers', (it) => {
  it(
    'is not exceeded by two uploads that start at the same moment',
    withServers({ userBytes: 1_500, entryBytes: 0 }, async (one, two) => {
      await one.upload(sized('counted', 1))
      await two.upload(sized('counted too', 1))
      for (const name of ['a', 'b', 'c']) {
        const codes = await Promise.all([started(one, name, 1_000), started(two, `${name} too`, 1_000)])
        assert.deepEqual(codes.sort(), ['quota-exceeded', undefined])
        await one.cancel(name)
        await two.cancel(`${name} too`)
      }
    }),
  )

  it(
    'admits two that fit, and an upload that continues at the other server',
    withServers({ userBytes: 2_000, entryBytes: 0 }, async (one, two) => {
      const codes = await Promise.all([started(one, 'a', 1_000), started(two, 'b', 1_000)])
      assert.deepEqual(codes, [undefined, undefined])
      const file = sized('a', 1_000)
      const { instance, progress } = await two.continue(file)
      await two.chunk(instance, progress, file.bytes)
      await two.end(instance, sha256(file.bytes))
    }),
  )
})

/** Sends a file in one request. Resolves with the code of its refusal, or `undefined`. */
async function put(client: FileClient, name: string, size: number) {
  client.sendPut(sized(name, size))
  const answer = await client.raw.next()
  if (answer.event === 'PutFileAck') return undefined
  return answer.event === 'PutFileNack' ? codeOf(answer.code) : assert.fail(answer.event)
}

spec('the quota of a user who sends small files to two servers', (it) => {
  it(
    'is not exceeded by files that both receive at the same moment',
    withServers({ userBytes: 1_500, entryBytes: 0 }, async (one, two) => {
      const both = async (size: number) => (await Promise.all([put(one, 'a', size), put(two, 'b', size)])).sort()
      assert.deepEqual(await both(400), [undefined, undefined])
      assert.deepEqual(await both(800), ['quota-exceeded', undefined])
    }),
  )

  it(
    'is not exceeded by a small file beside an upload at the other server, in bytes and in files',
    withServers({ userBytes: 1_500, entryBytes: 0, userFiles: 3 }, async (one, two) => {
      const codes = await Promise.all([started(one, 'a', 1_000), put(two, 'b', 1_000)])
      assert.deepEqual(codes.sort(), ['quota-exceeded', undefined])
      await one.cancel('a')
      for (const name of ['1', '2', '3', '4']) await put(one, name, 1)
      const last = [await put(two, '5', 1), await started(two, '6', 1), await put(one, '7', 1)]
      assert.deepEqual(last, ['quota-exceeded', 'quota-exceeded', 'quota-exceeded'])
    }),
  )

  it(
    'is not exceeded by files that the other server has stored since the last count',
    withServers({ userBytes: 1_000, entryBytes: 0 }, async (one, two) => {
      assert.deepEqual([await put(one, 'a', 100), await put(two, 'b', 100)], [undefined, undefined])
      assert.equal(await put(one, 'c', 500), undefined)
      assert.equal(await put(two, 'd', 400), 'quota-exceeded')
      assert.equal(await put(two, 'c', 800), undefined)
      assert.equal(await put(one, 'e', 100), 'quota-exceeded')
    }),
  )

  it(
    'is not exceeded after both have replaced a file by a smaller one at the same moment',
    withServers({ userBytes: 1_500, entryBytes: 0 }, async (one, two) => {
      await put(one, 'a', 1_000)
      await put(two, 'counted', 0)
      await Promise.all([put(one, 'a', 200), put(two, 'a', 201)])
      assert.equal(await put(one, 'b', 1_400), 'quota-exceeded')
    }),
  )

  for (const [step, send] of [
    ['transfers.announce', put],
    ['transfers.claim', started],
  ] as const) {
    it(
      `is not exceeded if a file is removed before it is replaced by ${send === put ? 'a small one' : 'an upload'}`,
      withServers({ userBytes: 1_000, entryBytes: 0 }, async (one, two, held) => {
        await put(two, 'a', 900)
        held.name = step
        const replaced = send(two, 'a', 950)
        await held.reached.promise
        await removed(one, 'a')
        // The first count of the other server.
        await put(one, 'b', 10)
        held.released.resolve()
        assert.equal(await replaced, 'file-busy')
        assert.equal(await put(one, 'c', 900), undefined)
        assert.equal(await send(two, 'a', 950), 'quota-exceeded')
      }),
    )
  }

  it(
    'does not grow by removing, replacing or renaming the file that an upload at the other server replaces',
    withServers({ userBytes: 1_000, entryBytes: 0 }, async (one, two) => {
      await put(one, 'a', 500)
      await put(one, 'b', 1)
      assert.equal(await started(two, 'a', 900), undefined)
      const renamed = { version: '', flags: 1 }
      one.raw.send('RenameFileReq', { fileName: 'a', newName: 'c', ...renamed })
      await one.raw.refused('RenameFileNack', 'file-busy')
      one.raw.send('RenameFileReq', { fileName: 'b', newName: 'a', ...renamed })
      await one.raw.refused('RenameFileNack', 'file-busy')
      one.raw.send('RemoveFileReq', { fileName: 'a', version: '' })
      await one.raw.refused('RemoveFileNack', 'file-busy')
      await two.cancel('a')
      await removed(one, 'a')
    }),
  )
})

async function removed(client: FileClient, fileName: string): Promise<void> {
  client.raw.send('RemoveFileReq', { fileName, version: '' })
  assert.equal((await client.raw.expect('RemoveFileAck')).removed, 1)
}

spec('the uploads of a user at two servers', (it) => {
  it(
    'are at most those of one user, also if they start at the same moment',
    withServers({ uploadsPerUser: 3 }, async (one, two) => {
      assert.deepEqual([await started(one, 'a', 9), await started(two, 'b', 9)], [undefined, undefined])
      const codes = await Promise.all([started(one, 'c', 9), started(two, 'd', 9)])
      assert.deepEqual(codes.sort(), ['too-many-uploads', undefined])
    }),
  )
})
