import assert from 'node:assert/strict'
import { BoundedMap } from '../../lib/core/boundedMap.ts'
import { spec } from '../support/spec.ts'

spec('a bounded map', (it) => {
  it('evicts the entry that was set first', () => {
    const map = new BoundedMap<string, number>(2)
    map.set('a', 1).set('b', 2).set('c', 3)
    assert.deepEqual(
      [...map],
      [
        ['b', 2],
        ['c', 3],
      ],
    )
  })

  it('keeps an entry that is set again as the latest', () => {
    const map = new BoundedMap<string, number>(2)
    map.set('a', 1).set('b', 2).set('a', 3).set('c', 4)
    assert.deepEqual(
      [...map],
      [
        ['a', 3],
        ['c', 4],
      ],
    )
  })

  it('leaves the removal to a given function', () => {
    const evicted: string[] = []
    const map: BoundedMap<string, number> = new BoundedMap(1, (key) => {
      map.delete(key)
      evicted.push(key)
    })
    map.set('a', 1).set('b', 2)
    assert.deepEqual([[...map.keys()], evicted], [['b'], ['a']])
  })
})
