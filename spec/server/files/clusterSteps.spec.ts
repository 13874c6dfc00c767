import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import { alteredSteps } from '../../adapters/cluster/alteredSteps.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(1_000)
const quietMs = 300

spec('a request about a stored file of a cluster', (it) => {
  it('takes a fixed number of steps, each of which is one statement in the database', async () => {
    await using cluster = await ClusterServers.create()
    const steps: string[] = []
    const server = await cluster.start({ notify: [{ user: 'ingest' }] }, (own) =>
      alteredSteps(own, (name, run) => {
        if (/^(?:files|transfers)\.|^mail\.post$/u.test(name)) steps.push(name)
        return run()
      }),
    )
    const alice = await cluster.client(server)
    const taken = async (request: () => Promise<unknown>) => {
      await setTimeout(quietMs)
      steps.length = 0
      await request()
      // Reports follow the reply.
      await setTimeout(quietMs)
      return steps.join(' ')
    }
    await alice.put({ name: 'first', bytes })
    const { raw } = alice
    const sent = <K extends 'StatFileAck' | 'ListFilesAck' | 'RenameFileAck' | 'RemoveFileAck'>(reply: K) =>
      raw.expect(reply)
    const found = {
      put: await taken(() => alice.put({ name: 'a', bytes })),
      stat: await taken(() => {
        raw.send('StatFileReq', { fileName: 'a', flags: 0 })
        return sent('StatFileAck')
      }),
      list: await taken(() => {
        raw.send('ListFilesReq', { prefix: '', after: '', most: 0 })
        return sent('ListFilesAck')
      }),
      rename: await taken(() => {
        raw.send('RenameFileReq', { fileName: 'a', newName: 'b', version: '', flags: 0 })
        return sent('RenameFileAck')
      }),
      remove: await taken(() => {
        raw.send('RemoveFileReq', { fileName: 'b', version: '' })
        return sent('RemoveFileAck')
      }),
    }
    const admitted = 'transfers.marker transfers.record transfers.totals transfers.records'
    const reported = 'files.get mail.post transfers.reported'
    assert.deepEqual(found, {
      put: `${admitted} transfers.announce transfers.settle ${reported}`,
      stat: 'files.get',
      list: 'files.get',
      rename: 'files.get files.put files.begin files.end files.prune files.prune',
      remove: 'files.begin files.end files.prune',
    })
  })
})
