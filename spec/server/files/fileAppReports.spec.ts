import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { StoredFile } from '../../../lib/ports/storage.ts'
import { type FileClient, sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const bytes = patterned(1_000)
const file = { name: 'a', bytes }
const gone = new Error('the process is gone')

/** The names in the lines about stored files, since this was last asked. */
const logged = (rig: ServerRig) => rig.log.splice(0).flatMap((e) => (e.event === 'upload-stored' ? [e.name] : []))

/** The file that a server that has just started emits. */
const emitted = async (rig: ServerRig): Promise<StoredFile> =>
  (await once(rig.server as unknown as NodeJS.EventEmitter, 'stored'))[0]

spec('a stored file', (it) => {
  it('is logged and emitted once, also over restarts', async () => {
    await using rig = await ServerRig.start()
    const stored: string[] = []
    rig.server.on('stored', ({ name }) => stored.push(name))
    const client = await rig.client()
    await client.upload(file)
    await client.upload({ ...file, name: 'b' })
    await rig.server.close()
    await rig.restart()
    assert.deepEqual(await rig.storage.transfers.unreported(), [])
    assert.deepEqual(
      [stored, logged(rig)],
      [
        ['a', 'b'],
        ['a', 'b'],
      ],
    )
  })

  it('is logged and emitted by the next start if the process ended between its marker and its line', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const { instance } = await client.start(file)
    await client.chunk(instance, 0, bytes)
    const held = rig.storage.hold('complete', 'after')
    client.sendEnd(instance, sha256(bytes))
    await held.reached
    held.fail(gone)
    await rig.crash()
    assert.deepEqual(logged(rig), [])
    await rig.restart()
    const { name, digest, replaced } = await emitted(rig)
    assert.deepEqual([name, digest, replaced], ['a', sha256(bytes).toString('hex'), false])
    assert.deepEqual(logged(rig), ['a'])
    await rig.server.close()
    await rig.restart()
    assert.deepEqual([await rig.storage.transfers.unreported(), logged(rig)], [[], []])
  })

  it('is reported once more if the process ended before the marker', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const held = rig.storage.hold('reported')
    await client.upload(file)
    held.fail(gone)
    await rig.crash()
    assert.deepEqual(logged(rig), ['a'])
    await rig.restart()
    assert.equal((await emitted(rig)).name, 'a')
    assert.deepEqual(logged(rig), ['a'])
  })
})

/** The lines about stored files, without those that repeat the latest line about the same file. */
function counted({ log }: ServerRig) {
  const latest = new Map<unknown, unknown>()
  return log.flatMap((line) => {
    if (line.event !== 'upload-stored') return []
    const { name, storedName = name, digest, recovered = false } = line
    const isRepeated = recovered && latest.get(storedName) === digest
    latest.set(storedName, digest)
    return isRepeated ? [] : [{ storedName, recovered }]
  })
}

const steps = {
  'in chunks': ['claim', 'verified', 'publish', 'complete', 'reported'],
  'in one request': ['create', 'announce', 'publish', 'reported'],
} as const

spec('the lines about a stored file', (it) => {
  for (const [how, names] of Object.entries(steps)) {
    for (const step of names) {
      for (const when of ['before', 'after'] as const) {
        it(`count it once if it was sent ${how}, and the server was killed ${when} the step ${step}`, async () => {
          await using rig = await ServerRig.start()
          const held = rig.storage.hold(step, when)
          const sent = sentTo(await rig.client(), how === 'in chunks').catch(() => {})
          await held.reached
          held.fail(gone)
          await rig.crash()
          await sent
          await rig.restart()
          await sentTo(await rig.client(), how === 'in chunks')
          await turn()
          const lines = rig.log.filter(({ event }) => event === 'upload-stored')
          assert.equal(lines.length, step === 'reported' && when === 'before' ? 2 : 1)
          assert.equal(counted(rig).length, 1)
          await rig.server.close()
          await rig.restart()
          assert.equal(counted(rig).length, 1)
        })
      }
    }
  }
})

/** Sends the file, or the missing part of it. */
async function sentTo(client: FileClient, isInChunks: boolean): Promise<void> {
  if (!isInChunks) {
    await client.put(file)
    return
  }
  const { instance, progress } = await client.continue(file)
  if (progress < bytes.length) await client.chunk(instance, progress, bytes.subarray(progress))
  await client.end(instance, sha256(bytes))
}

spec('a listener of a server that fails', (it) => {
  for (const [how, bug] of [
    [
      'throws',
      () => {
        throw new Error('a bug')
      },
    ],
    ['rejects', () => Promise.reject(new Error('a bug'))],
  ] as const) {
    it(`because it ${how} is logged, and prevents neither the reply nor the other listeners`, async () => {
      await using rig = await ServerRig.start()
      const stored: string[] = []
      rig.server.on('stored', bug)
      rig.server.on('stored', ({ name }) => stored.push(name))
      const client = await rig.client()
      await client.upload(file)
      await client.upload({ ...file, name: 'b' })
      assert.deepEqual(stored, ['a', 'b'])
      const lines = rig.log.filter(({ event }) => event === 'listener-failed')
      assert.deepEqual(
        lines.map(({ level, of, text }) => [level, of, text]),
        [
          ['error', 'stored', 'a bug'],
          ['error', 'stored', 'a bug'],
        ],
      )
    })
  }
})

spec('a log that throws', (it) => {
  it('loses only its own lines', async () => {
    const error = console.error
    const printed: unknown[] = []
    console.error = (...what: unknown[]) => void printed.push(what.at(-1))
    try {
      const log = () => {
        throw gone
      }
      await using rig = await ServerRig.start({}, { log })
      await (await rig.client()).upload(file)
      await rig.assertStored('a', bytes)
      assert.ok(printed.length > 1 && printed.every((each) => each === gone))
    } finally {
      console.error = error
    }
  })
})
