import assert from 'node:assert/strict'
import fc from 'fast-check'
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

  it('evicts in the order in which the entries were last set, whatever else is deleted', () => {
    const action = fc.record({ key: fc.nat(9), sets: fc.boolean() })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), fc.integer({ min: 1, max: 5 }), (actions, most) => {
        const map = new BoundedMap<number, number>(most)
        let keys: number[] = []
        for (const { key, sets } of actions) {
          keys = keys.filter((other) => other !== key)
          if (sets) keys = [...keys, key].slice(-most)
          if (sets) map.set(key, 0)
          else map.delete(key)
          assert.deepEqual([...map.keys()], keys)
        }
      }),
    )
  })

  it('passes the key to a given function before it removes the entry', () => {
    const evicted: string[] = []
    const map: BoundedMap<string, number> = new BoundedMap(1, (key) => {
      if (map.has(key)) evicted.push(key)
    })
    map.set('a', 1).set('b', 2)
    assert.deepEqual([[...map.keys()], evicted], [['b'], ['a']])
  })
})
