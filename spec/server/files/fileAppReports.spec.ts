import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { StoredFile } from '../../../lib/ports/storage.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

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
