import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Replies } from '../../lib/core/replies.ts'
import { fixed } from '../../lib/limits.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { frameFor } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

const replyTo = (seq: number): Frame => frameFor({ event: 'PingAck', listVersion: seq }, seq)

function answer(replies: Replies, ...seqs: number[]): void {
  for (const seq of seqs) {
    assert.equal(replies.admit(seq), 'carry out')
    replies.remember(seq, replyTo(seq))
  }
}

const upTo = (last: number) => Array.from({ length: last }, (_, at) => at + 1)

spec('remembered replies', (it) => {
  it('answer a repeated request', () => {
    const replies = new Replies()
    answer(replies, 1)
    assert.deepEqual(replies.admit(1), replyTo(1))
    assert.deepEqual(replies.admit(1), replyTo(1))
  })

  it('drop a repetition of a running request', () => {
    const replies = new Replies()
    assert.equal(replies.admit(1), 'carry out')
    assert.equal(replies.admit(1), 'drop')
  })

  it('are the latest 512; older requests are dropped', () => {
    const replies = new Replies()
    answer(replies, ...upTo(513))
    assert.equal(replies.admit(1), 'drop')
    assert.deepEqual(replies.admit(2), replyTo(2))
  })

  it('keep a request that runs longer than 512 others', () => {
    const replies = new Replies()
    replies.admit(1)
    answer(replies, ...upTo(600).slice(1))
    assert.equal(replies.admit(1), 'drop')
    replies.remember(1, replyTo(1))
    answer(replies, 601)
    assert.deepEqual(replies.admit(601), replyTo(601))
  })

  it('contain no reply to a request that was not admitted', () => {
    const replies = new Replies()
    replies.remember(5, replyTo(5))
    assert.equal(replies.admit(5), 'carry out')
  })

  it('accept requests in any order', () => {
    const replies = new Replies()
    answer(replies, 512, 3, 2, 400, 1)
    assert.equal(replies.admit(4), 'carry out')
    assert.deepEqual(replies.admit(400), replyTo(400))
  })

  it('reject a peer with more than 512 unanswered requests', () => {
    const replies = new Replies()
    for (const seq of upTo(512)) assert.equal(replies.admit(seq), 'carry out')
    assert.equal(replies.admit(512), 'drop')
    assert.throws(() => replies.admit(513), { code: 'malformed' })
    replies.remember(200, replyTo(200))
    assert.equal(replies.admit(513), 'carry out')
  })

  it('never drop a new request of a sender that follows the rule of 511, and never repeat one', () => {
    /** Each number chooses what happens next: a REQ is sent, arrives (again), is carried out, or its reply arrives. */
    const property = fc.property(
      fc.array(fc.nat(), { minLength: 2_000, maxLength: 2_000 }),
      fc.integer({ min: 2, max: 40 }),
      run,
    )
    fc.assert(property, { numRuns: 30 })
  })
})

function run(choices: readonly number[], hurry: number): void {
  const replies = new Replies()
  const unanswered = new Set<number>()
  const underWay: number[] = []
  const carriedOut = new Set<number>()
  let last = 0
  for (const choice of choices) {
    const [oldest = last + 1] = unanswered
    // In a hurry many REQs are sent for each that arrives, so that the rule has something to hold up.
    if (choice % hurry > 0 && last + 1 - oldest < fixed.replies) unanswered.add(++last)
    else if (choice % 2 === 0) arrive([...unanswered][choice % unanswered.size])
    else finish(underWay.splice(choice % Math.max(1, underWay.length), 1)[0])
  }
  for (const seq of unanswered) arrive(seq)
  for (const seq of underWay.splice(0)) finish(seq)
  for (const seq of unanswered) assert.ok(carriedOut.has(seq), `${seq} was never carried out`)

  function arrive(seq: number | undefined): void {
    if (seq === undefined) return
    const admitted = replies.admit(seq)
    if (admitted === 'carry out') {
      assert.ok(!carriedOut.has(seq), `${seq} was carried out twice`)
      carriedOut.add(seq)
      underWay.push(seq)
    } else if (admitted === 'drop') {
      assert.ok(underWay.includes(seq), `${seq} was dropped`)
    } else {
      assert.equal(admitted.seq, seq)
      unanswered.delete(seq)
    }
  }

  function finish(seq: number | undefined): void {
    if (seq === undefined) return
    replies.remember(seq, replyTo(seq))
    // Every other reply is lost, and comes with a repetition.
    if (seq % 2 === 0) unanswered.delete(seq)
  }
}
