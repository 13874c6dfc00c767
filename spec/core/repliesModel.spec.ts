import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Replies } from '../../lib/core/replies.ts'
import { frameFor } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

/** What became of REQs, all that ever came: under way, or answered; the 512 highest answered ones are remembered. */
class Model {
  readonly underWay = new Set<number>()
  readonly answered: number[] = []
  /** The highest one whose reply was forgotten. */
  forgotten = 0

  expects(seq: number): 'carry out' | 'drop' | 'reply' | 'malformed' {
    if (this.underWay.has(seq)) return 'drop'
    if (this.answered.includes(seq)) return 'reply'
    if (seq <= this.forgotten) return 'drop'
    return this.underWay.size >= 512 ? 'malformed' : 'carry out'
  }

  answer(seq: number): void {
    this.underWay.delete(seq)
    this.answered.splice(this.answered.findLastIndex((other) => other < seq) + 1, 0, seq)
    if (this.answered.length > 512) this.forgotten = Math.max(this.forgotten, this.answered.shift() ?? 0)
  }
}

type Step = fc.Command<Model, Replies>

const replyTo = (seq: number) => frameFor({ event: 'PingAck', listVersion: seq }, seq)

/** REQs from `first` on come, whether they came before or not. */
const come = (first: number, count: number): Step => ({
  check: () => true,
  run(model, replies) {
    for (let seq = first; seq < first + count; seq++) {
      const expected = model.expects(seq)
      if (expected === 'malformed') assert.throws(() => replies.admit(seq), { code: 'malformed' })
      else assert.deepEqual(replies.admit(seq), expected === 'reply' ? replyTo(seq) : expected, `${seq}`)
      if (expected === 'carry out') model.underWay.add(seq)
    }
  },
  toString: () => `${count} from ${first} on come`,
})

/** Some of those that are under way, chosen by `choice`, are answered; or one that never came is. */
const answer = (choice: number, count: number): Step => ({
  check: () => true,
  run(model, replies) {
    for (let left = count; left > 0; left--) {
      const seq = [...model.underWay][choice % Math.max(1, model.underWay.size)]
      replies.remember(seq ?? 1_000_000, replyTo(seq ?? 1_000_000))
      if (seq !== undefined) model.answer(seq)
    }
  },
  toString: () => `${count} are answered, at ${choice}`,
})

spec('remembered replies, in any order of requests and replies,', (it) => {
  it('behave as their model', () => {
    const seq = fc.integer({ min: 1, max: 1_500 })
    const count = fc.constantFrom(1, 3, 50, 400)
    const steps = fc.commands(
      [fc.tuple(seq, count).map((of) => come(...of)), fc.tuple(fc.nat({ max: 600 }), count).map((of) => answer(...of))],
      { maxCommands: 30, size: 'max' },
    )
    const property = fc.property(steps, (commands) => {
      fc.modelRun(() => ({ model: new Model(), real: new Replies() }), commands)
    })
    fc.assert(property, { numRuns: 60 })
  })

  it('let no request be carried out twice, even if one takes longer than 512 others', () => {
    const replies = new Replies()
    for (let seq = 1; seq <= 600; seq++) {
      assert.equal(replies.admit(seq), 'carry out')
      if (seq > 1) replies.remember(seq, replyTo(seq))
    }
    replies.remember(1, replyTo(1))
    assert.equal(replies.admit(50), 'drop')
  })
})
