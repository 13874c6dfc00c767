import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Queue } from '../../lib/core/queue.ts'
import { spec } from '../support/spec.ts'

spec('a queue', (it) => {
  it('returns the oldest item first, and nothing if it is empty', () => {
    const property = fc.property(fc.array(fc.option(fc.nat(), { nil: undefined })), (steps) => {
      const queue = new Queue<number>()
      const model: number[] = []
      for (const step of steps) {
        if (step === undefined) assert.equal(queue.shift(), model.shift())
        else {
          queue.push(step)
          model.push(step)
        }
        assert.deepEqual([queue.length, queue.first], [model.length, model[0]])
      }
    })
    fc.assert(property)
  })

  it('takes the same time for an item of a long queue', () => {
    const queue = new Queue<number>()
    const many = 1_000_000
    for (let item = 0; item < many; item++) queue.push(item)
    let next = 0
    while (queue.length > 0) if (queue.shift() === next) next++
    assert.equal(next, many)
  })
})
