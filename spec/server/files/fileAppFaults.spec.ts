import assert from 'node:assert/strict'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { fault } from '../../../lib/adapters/disk/faults.ts'
import { type ErrorCode, OspError } from '../../../lib/errors.ts'
import { KiB } from '../../../lib/limits.ts'
import type { LogEntry } from '../../../lib/ports/log.ts'
import { alteredSteps } from '../../adapters/cluster/alteredSteps.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { run, place as sourceFiles } from '../../support/commands.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { MortalServer } from '../../support/mortalServer.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import type { Step } from '../../support/steppedStorage.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'
import { canMount } from '../../testing/storage/places.ts'

const file = { name: 'a', bytes: patterned(4 * KiB) }

const systemFault = (errno: string) =>
  fault(Object.assign(new Error(`${errno}: write`), { code: errno }), 'writing /data/partial/x.part')

const logged = (rig: ServerRig) =>
  rig.log.filter(({ level }) => level !== 'info').map(({ event, code }) => [event, code].filter(Boolean).join(' '))

/** Errno, and the code that the client is told. */
const rows: readonly (readonly [errno: string, code: ErrorCode])[] = [
  ['EFBIG', 'too-large'],
  ['EDQUOT', 'quota-exceeded'],
  ['EROFS', 'storage-unusable'],
  ['EMFILE', 'overloaded'],
  ['EIO', 'internal'],
]

spec('a fault of the storage', (it) => {
  for (const [errno, code] of rows) {
    it(`${errno} while chunks are written is reported as ${code}, without a path, and logged once`, async () => {
      await using rig = await ServerRig.start({ chunkBytes: KiB, windowBytes: 4 * KiB })
      const client = await rig.client()
      for (let round = 0; round < 3; round++) {
        const { instance } = await client.start(file)
        const held = rig.storage.hold('write')
        for (let at = 0; at < 4; at++) client.sendChunk(instance, at * KiB, file.bytes.subarray(0, KiB))
        await held.reached
        held.fail(systemFault(errno))
        const { text } = await client.raw.expect('PostFileNack')
        assert.ok(!text.includes('/'), text)
        for (let at = 1; at < 4; at++) await client.raw.expect('PostFileNack')
      }
      assert.deepEqual(logged(rig), [`upload-refused ${code}`])
      const [entry] = rig.log.filter(({ event }) => event === 'upload-refused')
      assert.match(String(entry?.text), new RegExp(`/data/partial/x\\.part failed: .*${errno}`, 'u'))
      await client.start(file)
    })
  }

  it('that no upload of this size can pass removes the record and the partial file', async () => {
    await using rig = await ServerRig.start({ chunkBytes: KiB })
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, file.bytes.subarray(0, KiB))
    rig.storage.fail('write', systemFault('EFBIG'))
    await client.chunkRefused(instance, KiB, file.bytes.subarray(KiB, 2 * KiB), 'too-large')
    assert.deepEqual(await rig.records(), [])
  })

  for (const step of ['claim', 'open', 'publish'] as const satisfies Step[]) {
    it(`is final at ${step} if a retry cannot help, and leaves the name free for another try`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.client()
      rig.storage.fail(step, systemFault('EROFS'))
      if (step === 'publish') {
        const { instance } = await client.start(file)
        await client.chunk(instance, 0, file.bytes)
        await client.endRefused(instance, sha256(file.bytes), 'storage-unusable')
      } else await client.startRefused(file, 'storage-unusable')
      assert.deepEqual(logged(rig), ['upload-refused storage-unusable'])
      await client.start(file)
    })
  }

  it('that has lost the session of a link ends the link, so that the client opens another one', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    rig.storage.fail('claim', new OspError('link-lost', 'the session of alice has no link'))
    client.sendStart(file)
    await client.raw.dismissed('link-replaced')
    await (await rig.client()).start(file)
  })
})

spec('a limit on the size of files that the system sets', (it) => {
  if (!canMount) return it.skip('is told as too-large', 'this system may have no prlimit')

  it('is refused as too-large, once, and nothing of the upload is kept', async () => {
    await using at = await MortalServer.in()
    await using server = await at.daemon([], { under: ['prlimit', '--fsize=1000000'] })
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    await using files = await sourceFiles()
    await files.write('large', patterned(2_000_000))
    const flags = ['--server', `127.0.0.1:${port}`, '--user', 'alice']
    const { code, stderr } = await run('osp', ['send', 'large', ...flags], { cwd: files.path })
    assert.equal(code, 1, stderr)
    assert.match(stderr, /the file is larger than the disk of the server can hold as one file/u)
    assert.equal(server.stderr.match(/upload-refused/gu)?.length, 1, server.stderr)
    // The client ends at the first refusal, perhaps before the server has removed it.
    while ((await at.files('partial')).size > 0) await turn()
  })
})

/** Runs `proof` with a server of a cluster that could not complete an upload of `file`, whose client has left. */
async function withFault(
  proof: (cluster: ClusterServers, another: () => Promise<FileClient>) => Promise<void>,
  clock?: VirtualClock,
) {
  await using cluster = await ClusterServers.create(clock)
  let fails = true
  const failing = (steps: Steps) =>
    alteredSteps(steps, async (name, run) => {
      if (name !== 'transfers.complete' || !fails) return run()
      fails = false
      throw new OspError('disk-full')
    })
  const limits = { uploadAgeMs: 60_000 }
  const [first, second] = [await cluster.start({ limits }, failing), await cluster.start({ limits }, failing)]
  const client = await cluster.client(first, { session: 'one' })
  const { instance } = await client.start(file)
  await client.chunk(instance, 0, file.bytes)
  await client.endRefused(instance, sha256(file.bytes), 'disk-full')
  await client.vanish()
  await proof(cluster, async () => {
    fails = true
    return cluster.client(second, { session: 'two' })
  })
}

const timesStored = (log: readonly LogEntry[]) => log.filter(({ event }) => event === 'upload-stored').length

spec('a verified upload whose completion has failed', (it) => {
  const changes = [
    ['removed', 'RemoveFile', { fileName: 'a', version: '' }],
    ['renamed', 'RenameFile', { fileName: 'a', newName: 'b', version: '', flags: 0 }],
  ] as const
  for (const [what, event, fields] of changes) {
    it(`is completed by any server of a cluster before its file is ${what}`, () =>
      withFault(async (cluster, another) => {
        const { raw } = await another()
        raw.send(`${event}Req`, fields)
        await raw.refused(`${event}Nack`, 'disk-full')
        raw.send(`${event}Req`, fields)
        await raw.expect(`${event}Ack`)
        assert.equal(timesStored(cluster.log), 1)
      }))
  }

  it('is completed by a server of a cluster when it removes expired uploads', () =>
    withFault(async (cluster) => cluster.passUntil(() => timesStored(cluster.log) === 1), new VirtualClock()))
})
