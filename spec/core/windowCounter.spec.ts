import assert from 'node:assert/strict'
import { WindowCounter } from '../../lib/core/windowCounter.ts'
import { spec } from '../support/spec.ts'

spec('a window counter', (it) => {
  it('returns the count and the remaining time of a window, which begins with the first event', () => {
    const counts = new WindowCounter(60, 10)
    assert.deepEqual(counts.of('a', 0), { number: 0, leftMs: 0 })
    assert.deepEqual([counts.add('a', 0), counts.add('a', 50), counts.add('b', 50)], [1, 2, 1])
    assert.deepEqual(counts.of('a', 50), { number: 2, leftMs: 10 })
    assert.deepEqual(counts.of('a', 60), { number: 0, leftMs: 0 })
    assert.deepEqual(counts.of('b', 60), { number: 1, leftMs: 50 })
  })

  it('begins a new window after the end of the previous one', () => {
    const counts = new WindowCounter(60, 10)
    counts.add('a', 0)
    assert.equal(counts.add('a', 60), 1)
    assert.deepEqual(counts.of('a', 100), { number: 1, leftMs: 20 })
  })

  it('replaces the oldest key beyond the maximum', () => {
    const counts = new WindowCounter(60, 3)
    for (const key of ['a', 'b', 'c', 'a', 'd']) counts.add(key, 0)
    const numbers = ['a', 'b', 'c', 'd'].map((key) => counts.of(key, 0).number)
    assert.deepEqual([counts.size, numbers], [3, [0, 1, 1, 1]])
  })

  it('has no keys after the end of all windows', () => {
    const counts = new WindowCounter(60, 1_000)
    for (let key = 0; key < 500; key++) counts.add(`${key}`, key / 100)
    counts.add('last', 100)
    assert.equal(counts.size, 1)
  })
})
