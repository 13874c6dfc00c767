import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type SendDecision, type SendPriority, SendQueues } from '../../lib/core/sendQueues.ts'
import { chunkFrame, pauseFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

/** What waits in each lane, first to last, and the chunks that were handed over and have not left. */
class Model {
  readonly waiting: Record<SendPriority, number[]> = { replies: [], requests: [], chunks: [] }
  handed: number[] = []
  last = 0
  /** Those whose bytes have left, or need not. */
  readonly left: number[] = []

  /** The next one that is sent, where `turn` says of each whether it may. */
  next(turn: (seq: number) => SendDecision): number | undefined {
    for (const lane of ['replies', 'requests', 'chunks'] as const) {
      const waiting = this.waiting[lane]
      for (let [first] = waiting; first !== undefined; [first] = waiting) {
        const when = turn(first)
        if (when === 'later' || (lane === 'chunks' && this.handed.length === 2)) break
        waiting.shift()
        if (lane === 'chunks' && when === 'now') this.handed.push(first)
        if (when === 'now') return first
        this.left.push(first)
      }
    }
    return undefined
  }
}

interface Real {
  readonly lanes: SendQueues
  readonly left: number[]
  /** What runs when the bytes of those that were sent have left. */
  readonly leaving: { readonly seq: number; readonly onFlushed: (() => void) | undefined }[]
}

type Step = fc.Command<Model, Real>

const step = (text: string, run: (model: Model, real: Real) => void): Step => ({
  check: () => true,
  run(model, real) {
    run(model, real)
    assert.deepEqual(real.left, model.left)
    const { replies, requests } = model.waiting
    assert.equal(real.lanes.replies, replies.length)
    assert.equal(real.lanes.smallBytes, 20 * (replies.length + requests.length))
  },
  toString: () => text,
})

const add = (lane: SendPriority) =>
  step(`add to ${lane}`, (model, { lanes, left }) => {
    const seq = ++model.last
    model.waiting[lane].push(seq)
    lanes.add(lane, lane === 'chunks' ? chunkFrame(seq) : pauseFrame(seq), () => left.push(seq))
  })

const turnOf = (seq: number, choice: number): SendDecision =>
  (['now', 'now', 'later', 'never'] as const)[(seq * 7 + choice) % 4] ?? 'now'

const take = (choice: number) =>
  step(`take, by ${choice}`, (model, { lanes, leaving }) => {
    const taken = lanes.next(({ seq }) => turnOf(seq, choice))
    const seq = model.next((seq) => turnOf(seq, choice))
    assert.equal(taken?.frame.seq, seq)
    if (taken && seq !== undefined) leaving.push({ seq, onFlushed: taken.onFlushed })
  })

const leave = (choice: number) =>
  step(`bytes leave, of ${choice}`, (model, { leaving }) => {
    const [copy] = leaving.splice(choice % Math.max(1, leaving.length), 1)
    if (!copy) return
    copy.onFlushed?.()
    model.left.push(copy.seq)
    model.handed = model.handed.filter((seq) => seq !== copy.seq)
  })

spec('send queues, with any frames,', (it) => {
  it('behave as their model', () => {
    const steps = fc.commands(
      [
        fc.constantFrom<SendPriority[]>('replies', 'requests', 'chunks').map(add),
        fc.constant(add('chunks')),
        fc.nat({ max: 3 }).map(take),
        fc.nat({ max: 3 }).map(take),
        fc.nat({ max: 9 }).map(leave),
      ],
      { maxCommands: 80, size: 'max' },
    )
    const property = fc.property(steps, (commands) => {
      fc.modelRun(() => ({ model: new Model(), real: { lanes: new SendQueues(), left: [], leaving: [] } }), commands)
    })
    fc.assert(property, { numRuns: 300 })
  })
})
