import assert from 'node:assert/strict'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { TransferRecord } from '../../../lib/ports/storage.ts'
import { type CompletionMarker, writeRow } from '../../../lib/storage/transfers/rows.ts'
import { surplusBlock, UploadLog } from '../../../lib/storage/transfers/uploadLog.ts'
import { spec } from '../../support/spec.ts'
import { BrittleJournal } from '../mailboxes/brittleJournal.ts'
import { noteOf, recordOf } from './rowsOf.ts'

const platform = nodePlatform()
const inMemory = (segmentBytes = 1_000_000) => new MemoryJournal(segmentBytes)
const namesOf = (log: UploadLog) => log.records().map(({ name }) => name)
const append = async (journal: MemoryJournal, ...texts: (string | Buffer)[]) => {
  for (const text of texts) await journal.append([Buffer.from(text)])
}

spec('the upload records in a journal', (it) => {
  it('are the same when the journal is read again', async () => {
    const journal = inMemory()
    const log = await UploadLog.open(journal, platform, 10)
    const checkpoints = [{ offset: 7, digest: Uint8Array.of(1, 255) }]
    await log.put(recordOf({ name: 'b', checkpoints }))
    await log.put(recordOf({ name: 'c', verified: noteOf('c').file }))
    await log.complete([noteOf('c')])
    await log.report([{ user: 'alice', name: 'c' }])
    await log.put(recordOf({ name: 'd' }))
    await log.remove('alice', 'd')
    await log.complete([noteOf('e')])
    await log.complete([noteOf('f')])
    await log.forget('alice', 'f')
    const again = await UploadLog.open(journal, platform, 10)
    assert.deepEqual(again.records(), [recordOf({ name: 'b', checkpoints })])
    assert.deepEqual(again.marker('alice', 'c'), { ...noteOf('c'), reported: true })
    assert.deepEqual(again.unreported(), [noteOf('e')])
    assert.equal(again.marker('alice', 'f'), undefined)
    assert.deepEqual(again.damages(), [])
  })

  const bad: Record<string, Partial<TransferRecord>> = {
    'has no valid user': { name: 'b', user: '..' },
    'has a name outside of the folder of the user': { name: '../b' },
    'has a token that no later one could exceed': { name: 'b', token: Number.MAX_SAFE_INTEGER },
  }
  for (const [what, change] of Object.entries(bad)) {
    it(`lose only the row that ${what}, which is reported`, async () => {
      const journal = inMemory()
      const rows = [recordOf({ name: 'a' }), recordOf(change), recordOf({ name: 'c', token: 2 ** 52 })]
      await append(journal, ...rows.map((value) => writeRow({ kind: 'record', value })))
      const log = await UploadLog.open(journal, platform, 10)
      assert.deepEqual(namesOf(log), ['a', 'c'])
      assert.deepEqual(
        log.damages().map(({ offset }) => offset),
        [1],
      )
    })
  }

  for (const text of ['{', '{}', 'null', '{"kind":"record","value":{}}', '{"kind":"later","value":{}}']) {
    it(`lose only the row that is ${text}, which is reported`, async () => {
      const journal = inMemory()
      await append(journal, text, writeRow({ kind: 'record', value: recordOf() }))
      const log = await UploadLog.open(journal, platform, 10)
      assert.deepEqual(namesOf(log), ['a'])
      assert.equal(log.damages().length, 1)
    })
  }

  it('name the expired completion markers, the oldest first, and can drop them', async () => {
    const journal = inMemory()
    const log = await UploadLog.open(journal, platform, 3)
    const names = (markers: readonly CompletionMarker[]) => markers.map(({ file }) => file.name).join('')
    for (const name of ['a', 'b', 'c']) await log.complete([noteOf(name, name === 'c' ? 1_000 : 10)])
    assert.equal(names(log.surplus(0)), '')
    assert.equal(names(log.surplus(11)), 'ab')
    await log.complete([noteOf('d')])
    assert.equal(names(log.surplus(0)), '')
    await log.complete([noteOf('e')])
    assert.equal(log.isCrowded, false)
    const [first, second] = log.surplus(11)
    await log.complete([noteOf('b')])
    log.drop([first, second].flatMap((marker) => marker ?? []))
    assert.deepEqual([log.marker('alice', 'a'), log.marker('alice', 'b')], [undefined, noteOf('b')])
    for (const name of ['f', 'g']) await log.complete([noteOf(name)])
    assert.equal(log.isCrowded, true)
  })

  it('have surplus markers to move if a block of them exceeds the limit, or after a minute', async () => {
    const log = await UploadLog.open(inMemory(), platform, 3)
    assert.equal(log.isSurplusDue(0), true)
    assert.equal(log.surplus(0).length, 0)
    assert.deepEqual(
      [59_999, 60_000, -60_000].map((now) => log.isSurplusDue(now)),
      [false, true, true],
    )
    const markers = Array.from({ length: surplusBlock + 4 }, (_, at) => noteOf(`${at}`))
    await log.complete(markers.slice(0, surplusBlock + 2))
    assert.equal(log.isSurplusDue(0), false)
    await log.complete(markers.slice(surplusBlock + 2))
    assert.equal(log.isSurplusDue(0), true)
    assert.deepEqual(log.surplus(0), markers.slice(0, surplusBlock))
    log.drop(log.surplus(0))
    assert.deepEqual(log.surplus(0), [])
  })
})

spec('a change of an upload that cannot be made durable', (it) => {
  for (const fate of ['full', { fails: 0 }] as const) {
    it(`is undone: ${JSON.stringify(fate)}`, async () => {
      const journal = new BrittleJournal(inMemory())
      const log = await UploadLog.open(journal, platform, 10)
      await log.put(recordOf({ token: 1 }))
      await log.complete([noteOf('n')])
      journal.fates.push(fate, fate, fate, fate)
      await assert.rejects(log.put(recordOf({ token: 2 })))
      await assert.rejects(log.put(recordOf({ name: 'b' })))
      await assert.rejects(log.remove('alice', 'a'))
      await assert.rejects(log.report([{ user: 'alice', name: 'n' }]))
      assert.deepEqual(log.records(), [recordOf({ token: 1 })])
      assert.deepEqual([...log.names('alice')], ['a'])
      assert.deepEqual(log.unreported(), [noteOf('n')])
    })
  }
})

spec('a journal of uploads', (it) => {
  it('stays short while a few records change, and keeps the current ones', async () => {
    const journal = inMemory(2_000)
    const log = await UploadLog.open(journal, platform, 10)
    await log.put(recordOf({ name: 'still' }))
    await log.complete([noteOf('noted')])
    await log.report([{ user: 'alice', name: 'noted' }])
    for (let token = 1; token <= 500; token++) await log.put(recordOf({ name: 'busy', token }))
    await log.close()
    assert.ok(journal.segments.length < 12, `${journal.segments.length} segments are left`)
    const again = await UploadLog.open(journal, platform, 10)
    const token = new Map(again.records().map(({ name, token }) => [name, token]))
    assert.deepEqual(Object.fromEntries(token), { still: 3, busy: 500 })
    assert.deepEqual(again.marker('alice', 'noted'), { ...noteOf('noted'), reported: true })
  })

  it('loses no entry in memory when a dropped segment cannot be read', async () => {
    const journal = inMemory(2_000)
    const log = await UploadLog.open(journal, platform, 10)
    await log.put(recordOf({ name: 'still' }))
    journal.segments[0]?.records.fill(Buffer.from('damaged'))
    for (let token = 1; token <= 500; token++) await log.put(recordOf({ name: 'busy', token }))
    await log.close()
    const again = await UploadLog.open(journal, platform, 10)
    assert.deepEqual(namesOf(again).sort(), ['busy', 'still'])
  })
})
