import assert from 'node:assert/strict'
import { fuzz, fuzzOnce } from '../fuzz/fuzz.ts'
import { type Pieces, piecesOf, plainTarget, textOf } from '../fuzz/target.ts'
import { spec } from '../support/spec.ts'
import { turn } from '../support/turn.ts'

/** A target that fails if a byte is 7, and the bytes that it receives. */
const fragile = (fail: () => Promise<void> | void) =>
  plainTarget({
    make: (draw) => draw.some(0, 3, () => draw.bytes(draw.below(20))),
    run: (pieces: Pieces) => (pieces.some((piece) => piece.includes(7)) ? fail() : undefined),
  })

const throwing = fragile(() => {
  throw new Error('a seven')
})

spec('fuzzing', (it) => {
  it('reports the seed of a failing case, and the smallest case that fails as well', async () => {
    const failure = await fuzz('x', throwing, { seed: 1, cases: 10_000 }).catch((error: Error) => error)
    assert.ok(failure)
    const [, seed = ''] = /--target x --seed (\d+) --cases 1/u.exec(failure.message) ?? []
    assert.match(failure.message, /^a seven\n.*\n {2}the same, smaller: --bytes 07\.$/u)
    await assert.rejects(fuzz('x', throwing, { seed: Number(seed), cases: 1 }), /a seven/u)
    await assert.rejects(fuzzOnce('x', throwing, '07.'), /a seven/u)
    await fuzzOnce('x', throwing, '06.')
  })

  it('detects an uncaught error', async () => {
    const stray = fragile(async () => {
      void Promise.reject(new Error('uncaught'))
      await turn()
    })
    await assert.rejects(fuzz('x', stray, { seed: 1, cases: 10_000 }), /uncaught/u)
  })

  it('writes a case as text, and reads it', () => {
    const pieces = [Uint8Array.of(1, 255), new Uint8Array(0), Uint8Array.of(0)]
    assert.deepEqual(piecesOf(textOf(pieces)), pieces)
    assert.deepEqual(piecesOf(textOf([])), [])
  })
})
