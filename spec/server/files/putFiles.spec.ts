import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, OspError } from '../../../lib/errors.ts'
import { fixed, KiB } from '../../../lib/limits.ts'
import type { Subject } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import type { Step } from '../../support/steppedStorage.ts'
import { turn } from '../../support/turn.ts'

const gone = new Error('the process is gone')

const named = (...names: string[]): Subject[] =>
  names.map((name, at) => ({ name, bytes: patterned(1_000 + at, at + 1) }))

async function assertStored(rig: ServerRig, subjects: readonly Subject[]): Promise<void> {
  for (const { name, bytes } of subjects) await rig.assertStored(name, bytes)
}

const linesOf = (rig: ServerRig) => rig.log.filter(({ event }) => event === 'upload-stored').length

spec('a request with several files', (it) => {
  it('stores each file, and answers for all of them at once', async () => {
    await using rig = await ServerRig.onDisk()
    const client = await rig.client()
    const files = [...named('a', 'x/b', 'x/y/c'), { name: 'empty', bytes: new Uint8Array() }]
    const { stored, refused } = await client.putAll(files)
    assert.deepEqual(
      stored,
      files.map(({ name }) => ({ storedName: name, replaced: 0 })),
    )
    assert.deepEqual([refused, linesOf(rig)], [[], 4])
    await assertStored(rig, files)
  })

  it('is answered in the same way if it is repeated, and stores nothing', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'rename' })
    const client = await rig.client()
    const files = named('a', 'b')
    await client.put({ name: 'a', bytes: patterned(10) })
    const answer = await client.putAll(files)
    assert.deepEqual(answer.stored[0]?.storedName, 'a (1)')
    assert.deepEqual(await (await rig.client({ session: 'two' })).putAll(files), answer)
    assert.equal(linesOf(rig), 3)
  })

  it('refuses some of its files, and stores the others', async () => {
    await using rig = await ServerRig.start({}, { onConflict: 'reject' })
    const client = await rig.client()
    const [taken] = named('taken')
    if (taken) await client.put(taken)
    const other = { name: 'taken', bytes: patterned(5) }
    const [first, last] = named('first', 'last')
    const files = [first, { ...other, name: '../bad' }, other, { ...other, name: 'd', digest: 77 }, last] as Subject[]
    const { stored, refused } = await client.putAll(files)
    assert.deepEqual(
      stored.map(({ storedName }) => storedName),
      ['first', 'last'],
    )
    assert.deepEqual(
      refused.map(({ file, code }) => [file, codeOf(code)]),
      [
        [1, 'bad-name'],
        [2, 'file-exists'],
        [3, 'unsupported-digest'],
      ],
    )
    await assertStored(rig, [first, taken, last] as Subject[])
  })

  it('can have two files of one name, of which the later one replaces the other', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.client()
    const [first, second] = named('a', 'a')
    const { stored } = await client.putAll([first, second] as Subject[])
    assert.deepEqual(
      stored.map(({ replaced }) => replaced),
      [0, 1],
    )
    await assertStored(rig, [second] as Subject[])
  })

  it('stores the files that fit into the quota, and refuses the others', async () => {
    await using rig = await ServerRig.start({ userBytes: 10 * KiB, entryBytes: 0 })
    const client = await rig.client()
    const files = Array.from({ length: 5 }, (_, at) => ({ name: `${at}`, bytes: patterned(4 * KiB, at) }))
    const { stored, refused } = await client.putAll(files)
    assert.equal(stored.length, 2)
    assert.ok(refused.every(({ code, retryAfter }) => codeOf(code) === 'quota-exceeded' && retryAfter > 0))
  })

  it('reports a fault of the storage without its text', async () => {
    await using rig = await ServerRig.start()
    rig.storage.storeTogether()
    rig.storage.fail('announce', new OspError('internal', 'the disk /secret is broken'))
    const { stored, refused } = await (await rig.client()).putAll(named('a', 'b'))
    assert.deepEqual(stored, [])
    assert.ok(refused.every(({ code, text }) => codeOf(code) === 'internal' && !text.includes('secret')))
  })

  for (const [what, files, content] of [
    ['without files', [], [patterned(1)]],
    [
      'with too many files',
      named(...Array.from({ length: fixed.smallFilesTogether + 1 }, (_, at) => `${at}`)),
      undefined,
    ],
    ['with too little content', named('a', 'b'), [patterned(1_500)]],
    ['with too much content', named('a', 'b'), [patterned(2_002)]],
    ['with a file that is too large', [{ name: 'a', bytes: patterned(3 * KiB) }], undefined],
  ] as const) {
    it(`${what} ends the link, and stores nothing`, async () => {
      await using rig = await ServerRig.start({ smallFileBytes: 2 * KiB })
      const client = await rig.client()
      client.sendPutAll(files, content ? [...content] : undefined)
      await client.raw.dismissed('malformed')
      assert.deepEqual([linesOf(rig), await rig.records()], [0, []])
    })
  }
})

spec('a crash of the server while it stores the files of a request', (it) => {
  for (const step of ['create', 'announce', 'publish', 'reported'] as const satisfies readonly Step[]) {
    for (const when of ['before', 'after'] as const) {
      it(`${when} the step \`${step}\` leaves no partial file; a repetition stores each file once`, async () => {
        await using rig = await ServerRig.onDisk({}, { onConflict: 'rename' })
        const files = named('a', 'b', 'c')
        const client = await rig.client()
        const held = rig.storage.hold(step, when)
        client.sendPutAll(files)
        await held.reached
        await turn()
        const crash = rig.crash()
        held.fail(gone)
        await crash
        await rig.restart()
        const { refused } = await (await rig.client()).putAll(files)
        assert.deepEqual(refused, [])
        await assertStored(rig, files)
        assert.deepEqual((await readdir(join(rig.directory, 'files', 'alice'))).sort(), ['a', 'b', 'c'])
        assert.deepEqual(await readdir(join(rig.directory, 'partial')), [])
      })
    }
  }
})
