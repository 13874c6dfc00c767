import assert from 'node:assert/strict'
import { Requests } from '../../lib/core/requests.ts'
import { chunkFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

spec('the bytes of a request', (it) => {
  /** Asks a chunk whose freeing is counted; hands on what is to be run when a copy has left. */
  function asked(reliable: boolean) {
    const requests = new Requests<string>(reliable, () => 0)
    let freed = 0
    const copy = requests.add(chunkFrame(1), '', 'chunk', () => freed++)
    requests.sent(1, 0)
    return { requests, left: () => copy.onFlushed?.(), freed: () => freed }
  }

  it('can be overwritten on a reliable socket when they have left', () => {
    const { requests, left, freed } = asked(true)
    left()
    requests.settle(1, 10)
    assert.equal(freed(), 1)
  })

  it('can be overwritten elsewhere only after they have left and it is answered, in either order', () => {
    const early = asked(false)
    early.left()
    assert.equal(early.freed(), 0)
    early.requests.settle(1, 10)
    assert.equal(early.freed(), 1)
    const late = asked(false)
    late.requests.settle(1, 10)
    assert.equal(late.freed(), 0)
    late.left()
    assert.equal(late.freed(), 1)
  })

  it('cannot be overwritten until its repetition has left', () => {
    const { requests, left, freed } = asked(false)
    left()
    const [again] = requests.due(5_000, 0).copies
    requests.sent(1, 5_000)
    requests.settle(1, 5_010)
    assert.equal(freed(), 0)
    again?.onFlushed?.()
    assert.equal(freed(), 1)
  })

  it('can be overwritten when it is abandoned', () => {
    const { requests, left, freed } = asked(false)
    left()
    requests.abandon(1)
    assert.equal(freed(), 1)
  })
})
