import assert from 'node:assert/strict'
import { MemoryJournal } from '../../../lib/adapters/memory/memoryJournal.ts'
import { OspError } from '../../../lib/errors.ts'
import type { Journal } from '../../../lib/storage/journal/journal.ts'
import { JournalWriter, mostWaitMs } from '../../../lib/storage/journal/journalWriter.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const contents = { liveBytes: 0, enter() {}, move: () => ({ records: [], moved() {} }) }

/** A writer of a journal whose next appends fail with `failures`, on a disk with `freeBytes`. */
function scene() {
  const journal: Journal = new MemoryJournal(1_000)
  const append = journal.append.bind(journal)
  const own = { failures: [] as OspError[], freeBytes: 10_000, appends: 0 }
  journal.append = async (...records) => {
    own.appends++
    const failure = own.failures.shift()
    if (failure) throw failure
    return append(...records)
  }
  journal.free = async () => own.freeBytes
  let now = 0
  const alarms: { readonly atMs: number; readonly run: () => void }[] = []
  const alarm = (atMs: number, run: () => void) => {
    alarms.push({ atMs, run })
    return { [Symbol.dispose]() {} }
  }
  // The free space is measured before each append.
  const clock = { now: () => (now += 1_000), wallTime: () => 0, alarm }
  const writer = new JournalWriter(journal, clock, contents)
  const add = () => writer.add({ records: [Buffer.alloc(10)], reserveBytes: 1_000, undo() {} })
  const addLater = () => writer.add({ records: [Buffer.alloc(10)], mayWait: true, undo() {} })
  return { journal, own, add, addLater, alarms, writer }
}

spec('a record that may wait', (it) => {
  it('is appended together with the next one that does not wait', async () => {
    const { own, add, addLater } = scene()
    const waiting = addLater()
    await turn()
    assert.equal(own.appends, 0)
    await Promise.all([waiting, add()])
    assert.equal(own.appends, 1)
  })

  it('is appended alone after a short time', async () => {
    const { own, addLater, alarms } = scene()
    const waiting = [addLater(), addLater()]
    await turn()
    assert.deepEqual([own.appends, alarms.map(({ atMs }) => atMs)], [0, [1_000 + mostWaitMs]])
    alarms[0]?.run()
    await Promise.all(waiting)
    assert.equal(own.appends, 1)
  })

  it('is appended before the journal is closed', async () => {
    const { own, addLater, writer } = scene()
    const waiting = addLater()
    await writer.close()
    await waiting
    assert.equal(own.appends, 1)
  })
})

spec('a journal writer after an append whose records may exist', (it) => {
  it('tries to append again, even if the disk has no space left, and fails with the error of the journal', async () => {
    const { own, add } = scene()
    own.failures.push(new OspError('internal', 'a flush failed'), new OspError('internal', 'it failed again'))
    await assert.rejects(add(), { code: 'internal', message: /a flush failed/ })
    own.freeBytes = 500
    await assert.rejects(add(), { code: 'internal', message: /it failed again/ })
    assert.equal(own.appends, 2)
  })

  it('refuses records without space again once an append has succeeded', async () => {
    const { own, add } = scene()
    own.failures.push(new OspError('internal', 'a flush failed'))
    await assert.rejects(add(), { code: 'internal' })
    await add()
    own.freeBytes = 500
    await assert.rejects(add(), { code: 'disk-full' })
    assert.equal(own.appends, 2)
  })
})

spec('a damaged record of the oldest segment', (it) => {
  it('keeps the segment until the caller has asked for the damage, so that a crash before does not hide it', async () => {
    const { journal, writer, add } = scene()
    const fill = async (records: number) => {
      for (let index = 0; index < records; index++) await add()
      for (let index = 0; index < 100; index++) await turn()
    }
    await add()
    journal.reportDamage({ segment: 1, offset: 0, length: 10 })
    await fill(1_000)
    assert.equal(journal.segments[0]?.number, 1)
    assert.equal(writer.damages().length, 1)
    await fill(100)
    assert.ok((journal.segments[0]?.number ?? 0) > 1)
  })
})
