import assert from 'node:assert/strict'
import fc from 'fast-check'
import { lengthOf, Reader } from '../../lib/wire/codec.ts'
import { concatenated, cut } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'

const anyParts = fc
  .tuple(fc.uint8Array({ maxLength: 100 }), fc.array(fc.nat(9), { minLength: 1, maxLength: 9 }))
  .map(([bytes, lengths]) => cut(bytes, lengths))

spec('a reader of parts', (it) => {
  it('returns the bytes in order, wherever the parts are divided', () => {
    const property = fc.property(anyParts, fc.array(fc.nat(30)), (parts, lengths) => {
      const reader = new Reader(parts)
      const taken: Uint8Array[] = []
      for (const length of lengths) {
        if (length > reader.left) break
        const piece = reader.take(length)
        assert.equal(piece.length, length)
        taken.push(piece)
      }
      assert.equal(reader.left, lengthOf(parts) - lengthOf(taken))
      const rest = reader.rest()
      assert.equal(reader.left, 0)
      assert.deepEqual(concatenated([...taken, ...rest]), concatenated(parts))
    })
    fc.assert(property)
  })

  it('aliases its input, and copies only bytes of several parts', () => {
    const parts = [Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5, 6, 7), Uint8Array.of(8)]
    const reader = new Reader(parts)
    assert.equal(reader.take(2).buffer, parts[0]?.buffer)
    const crossing = reader.take(3)
    assert.deepEqual(crossing, Uint8Array.of(3, 4, 5))
    assert.ok(parts.every((part) => part.buffer !== crossing.buffer))
    const rest = reader.rest()
    assert.deepEqual(rest, [Uint8Array.of(6, 7), Uint8Array.of(8)])
    assert.deepEqual(
      rest.map((part) => part.buffer),
      parts.slice(1).map((part) => part.buffer),
    )
  })

  it('rejects a read past the end before it allocates memory', () => {
    const reader = new Reader([Uint8Array.of(1), Uint8Array.of(2, 3)])
    assert.throws(() => reader.take(2 ** 52), { code: 'malformed', message: /too short/u })
    assert.equal(reader.left, 3)
    assert.throws(() => new Reader([]).take(1), { code: 'malformed' })
  })

  it('returns nothing at the end', () => {
    const reader = new Reader([new Uint8Array(0)])
    assert.deepEqual(reader.take(0), new Uint8Array(0))
    assert.deepEqual(reader.rest(), [])
  })
})
