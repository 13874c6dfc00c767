import assert from 'node:assert/strict'
import { Blocks } from '../../lib/runtime/blocks.ts'
import { spec } from '../support/spec.ts'

spec('a copy of bytes', (it) => {
  it('does not change with the original or with other copies', () => {
    const blocks = new Blocks()
    const original = Uint8Array.of(1, 2, 3)
    const copies = Array.from({ length: 5_000 }, () => blocks.copy(original))
    original.fill(9)
    copies[7]?.fill(8)
    for (const [at, copy] of copies.entries())
      assert.deepEqual(copy, Uint8Array.of(...(at === 7 ? [8, 8, 8] : [1, 2, 3])))
  })

  it('shares a block of 4 KiB with others if it is short', () => {
    const blocks = new Blocks()
    const copies = Array.from({ length: 9 }, () => blocks.copy(new Uint8Array(512)))
    assert.deepEqual(
      [...new Set(copies.map(({ buffer }) => buffer))].map((buffer) => buffer.byteLength),
      [4_096, 4_096],
    )
  })

  it('has its own memory if it is long', () => {
    assert.equal(new Blocks().copy(new Uint8Array(513)).buffer.byteLength, 513)
  })
})
