import assert from 'node:assert/strict'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from '../../lib/index.ts'
import { tcp } from '../../lib/node.ts'
import { eagerPlatform } from '../support/chat/eager.ts'
import { canFreeze } from '../support/frozen.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { databaseMissing } from '../support/postgres.ts'
import { postgresMissing } from '../support/postgresServer.ts'
import { spec } from '../support/spec.ts'
import { until } from '../support/until.ts'
import { ClusterServers } from './servers.ts'
import { soak } from './soak.ts'

const missing = postgresMissing ?? databaseMissing ?? (canFreeze ? undefined : 'processes cannot be frozen here')

spec('three servers behind a balancer', (it) => {
  if (missing !== undefined) return it.skip('lose nothing', missing)

  it('lose nothing although one is killed, one is frozen, and the database crashes', async () => {
    const lines: string[] = []
    const faults = ['kill', 'freeze', 'database'] as const
    const load = { rounds: 3, uploads: 5, messages: 300, listeners: 8 }
    const violations = await soak({ ...load, seed: 7, faults, print: (line) => lines.push(line) })
    assert.deepEqual(violations, [], lines.join('\n'))
    assert.ok(lines.includes('5 of 5 uploads stored, 5 files published'), lines.join('\n'))
    assert.ok(
      lines.some((line) => line.startsWith('300 of 300 messages acknowledged')),
      lines.join('\n'),
    )
  })
})

spec('a server that was frozen during an upload', (it) => {
  if (missing !== undefined) return it.skip('changes nothing when it continues', missing)

  it('changes nothing when it continues after another server has published the file', async () => {
    await using servers = await ClusterServers.start(['one'])
    const { balancer } = servers
    await using client = createClient(tcp({ port: balancer.port }), {
      user: 'alice',
      platform: eagerPlatform(),
      limitRate: 8_000_000,
    })
    const bytes = patterned(24_000_000)
    const upload = await client.upload(memorySource('movie', bytes))
    await until(upload, 'progress', () => upload.progress.durable > 2_000_000)
    await servers.freeze('one')
    // Chunks that the client sends meanwhile wait in the socket of the frozen server.
    await servers.start('two')
    balancer.suspend('one')
    balancer.cut()
    await upload.done
    const path = join(servers.files, 'files/alice/movie')
    const before = await stat(path, { bigint: true })
    assert.deepEqual(servers.partial(), [])
    await servers.declaredDead('one')
    await servers.thaw('one')
    // A server that has ended writes nothing any more.
    assert.equal(await servers.stop('one'), 0)
    const after = await stat(path, { bigint: true })
    assert.deepEqual([after.ino, after.mtimeNs, after.size], [before.ino, before.mtimeNs, before.size])
    assert.ok(Buffer.from(bytes).equals(await readFile(path)))
    assert.deepEqual(servers.partial(), [])
  })
})
