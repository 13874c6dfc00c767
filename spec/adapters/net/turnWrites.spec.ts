import assert from 'node:assert/strict'
import { blockBytes, TurnWrites, WriteBlock } from '../../../lib/adapters/net/turnWrites.ts'
import { spec } from '../../support/spec.ts'

spec('a block of short frames', (it) => {
  it('is filled from its beginning, and is replaced if a frame does not fit', () => {
    const block = new WriteBlock()
    assert.equal(block.place(100), 0)
    block.filled = 100
    const first = block.bytes
    assert.equal(block.place(blockBytes - 100), 100)
    assert.equal(block.bytes, first)
    assert.equal(block.place(blockBytes - 99), 0)
    assert.notEqual(block.bytes, first)
  })
})

spec('the writes of a turn', (it) => {
  it('are done at its end, in the order of the sockets, and those of the next turn at the end of that', async () => {
    const writes = new TurnWrites()
    const done: string[] = []
    const writer = (name: string) => ({ writeTurn: () => void done.push(name) })
    writes.add(writer('a'))
    writes.add(writer('b'))
    assert.deepEqual(done, [])
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(done, ['a', 'b'])
    writes.add(writer('c'))
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(done, ['a', 'b', 'c'])
  })
})
