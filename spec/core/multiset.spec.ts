import assert from 'node:assert/strict'
import { Multiset } from '../../lib/core/multiset.ts'
import { spec } from '../support/spec.ts'

spec('a multiset', (it) => {
  it('counts the occurrences of each key, and 0 for an unknown one', () => {
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

  it('returns a key with the most occurrences while keys are added and removed', () => {
    const set = new Multiset()
    const counts = new Map<string, number>()
    let state = 7
    for (let step = 0; step < 2_000; step++) {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31
      const key = `${(state >> 8) % 5}`
      if ((state >> 16) % 2 === 0) set.add(key)
      else set.remove(key)
      counts.set(key, set.of(key))
      const most = Math.max(...counts.values())
      assert.equal(most === 0 ? set.largest : set.of(set.largest ?? ''), most === 0 ? undefined : most)
    }
  })
})
