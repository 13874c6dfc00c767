import assert from 'node:assert/strict'
import { MemoryShelf } from '../../../lib/adapters/memory/memoryShelf.ts'
import { Book } from '../../../lib/adapters/records/book.ts'
import { recordKey } from '../../../lib/adapters/records/keys.ts'
import { writeRecord } from '../../../lib/adapters/records/rows.ts'
import { owner, wanted } from '../../../lib/contract/storage/steps.ts'
import type { TransferRecord } from '../../../lib/ports/storage.ts'
import { spec } from '../../support/spec.ts'

const record: TransferRecord = {
  ...wanted,
  token: 3,
  owner: owner(1),
  superseded: [],
  checkpoints: [],
  updatedAt: 1,
}

/** The names of the records that a book finds, and how many entries are left. */
async function found(change: Partial<TransferRecord>, key?: string): Promise<[string[], number]> {
  const shelf = new MemoryShelf()
  const changed = { ...record, ...change }
  await shelf.write([
    { key: recordKey('alice', 'a'), value: writeRecord(record) },
    { key: key ?? recordKey(changed.user, changed.name), value: writeRecord(changed) },
  ])
  const names: string[] = []
  await new Book().open(shelf, ({ name }) => names.push(name))
  let left = 0
  for await (const _ of shelf.entries({ from: '', below: '\uffff' })) left++
  return [names, left]
}

spec('a record of an upload that is damaged', (it) => {
  const alone = [['a'], 1]

  it('is removed if its name, or its user, can be of nobody', async () => {
    for (const name of ['../b', '', 'b\0', 'c:/b']) assert.deepEqual(await found({ name }), alone, name)
    assert.deepEqual(await found({ user: '..', name: 'b' }), alone)
  })

  it('is removed if it lies under another key than its own', async () => {
    assert.deepEqual(await found({ name: 'b' }, recordKey('alice', 'c')), alone)
    assert.deepEqual(await found({ name: 'b' }, `transfer\0\0alice\0b`), alone)
  })

  it('is removed if its token leaves no room for later ones', async () => {
    assert.deepEqual(await found({ name: 'b', token: Number.MAX_SAFE_INTEGER }), alone)
    assert.deepEqual(await found({ name: 'b', token: 2 ** 52 }), [['a', 'b'], 2])
  })
})
