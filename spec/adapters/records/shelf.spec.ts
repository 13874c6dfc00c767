import assert from 'node:assert/strict'
import { LevelShelf } from '../../../lib/adapters/disk/levelShelf.ts'
import { MemoryShelf } from '../../../lib/adapters/memory/memoryShelf.ts'
import type { KeyRange, Shelf } from '../../../lib/adapters/records/shelf.ts'
import { temporaryDirectory } from '../../contract/storage/places.ts'
import { spec } from '../../support/spec.ts'

type Proof = (shelf: Shelf) => Promise<void>

const kinds: Record<string, (proof: Proof) => () => Promise<void>> = {
  'in memory': (proof) => () => proof(new MemoryShelf()),
  'in LevelDB': (proof) => async () => {
    await using directory = await temporaryDirectory()
    const shelf = await LevelShelf.open(directory.path)
    try {
      await proof(shelf)
    } finally {
      await shelf.close()
    }
  },
}

async function keysOf(shelf: Shelf, range: KeyRange): Promise<string[]> {
  const keys: string[] = []
  for await (const [key] of shelf.entries(range)) keys.push(key)
  return keys
}

for (const [kind, having] of Object.entries(kinds)) {
  spec(`a shelf ${kind}`, (it) => {
    it(
      'has what was put on it last',
      having(async (shelf) => {
        await shelf.write([{ key: 'a', value: '1' }])
        await shelf.write([
          { key: 'a', value: '2' },
          { key: 'b', value: '' },
        ])
        assert.equal(await shelf.get('a'), '2')
        assert.equal(await shelf.get('b'), '')
        assert.equal(await shelf.get('c'), undefined)
      }),
    )

    it(
      'carries out the changes of one writing in their order',
      having(async (shelf) => {
        await shelf.write([{ key: 'a', value: '1' }, { key: 'a' }, { key: 'b' }, { key: 'b', value: '2' }])
        assert.deepEqual(await keysOf(shelf, { from: '', below: '~' }), ['b'])
      }),
    )

    it(
      'carries out what is written at once in the order in which it was asked',
      having(async (shelf) => {
        await Promise.all(Array.from({ length: 50 }, (_, index) => shelf.write([{ key: 'a', value: `${index}` }])))
        assert.equal(await shelf.get('a'), '49')
      }),
    )

    it(
      'orders keys by the bytes of their UTF-8',
      having(async (shelf) => {
        const keys = ['a', 'a\0', 'a\0b', 'a/', 'a0', 'ab', 'é', '\uffee', '😀', '😀a', '😁']
        await shelf.write(keys.toReversed().map((key) => ({ key, value: '' })))
        assert.deepEqual(await keysOf(shelf, { from: 'a', below: '😂' }), keys)
        assert.deepEqual(await keysOf(shelf, { from: 'a\0', below: 'a0' }), ['a\0', 'a\0b', 'a/'])
        assert.deepEqual(await keysOf(shelf, { from: 'a', below: '😀', limit: 2 }), ['a', 'a\0'])
      }),
    )

    it(
      'is read as it stood when the reading began',
      having(async (shelf) => {
        await shelf.write([
          { key: 'a', value: '1' },
          { key: 'b', value: '1' },
        ])
        const seen: string[] = []
        for await (const [key, value] of shelf.entries({ from: '', below: '~' })) {
          seen.push(`${key}${value}`)
          await shelf.write([
            { key: 'b', value: '2' },
            { key: 'c', value: '2' },
          ])
        }
        assert.deepEqual(seen, ['a1', 'b1'])
      }),
    )
  })
}
