import assert from 'node:assert/strict'
import { Multiset } from '../../lib/core/multiset.ts'
import { spec } from '../support/spec.ts'

spec('a tally', (it) => {
  it('counts what there is of each key, and nothing of one that it does not know', () => {
    const tally = new Multiset()
    for (const key of ['a', 'a', 'b']) tally.add(key)
    tally.remove('a')
    tally.remove('b')
    tally.remove('c')
    assert.deepEqual(
      ['a', 'b', 'c'].map((key) => tally.of(key)),
      [1, 0, 0],
    )
  })
})
