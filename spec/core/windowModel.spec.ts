import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Span, Window } from '../../lib/core/window.ts'
import { clientLimits } from '../../lib/limits.ts'
import { spec } from '../support/spec.ts'

const [size, windowBytes] = [100, 30]

/** A span that went out, and whether it did so since the window went back the last time. */
interface Sent extends Span {
  readonly seq: number
  readonly round: number
}

/** Where a window stands, and where it has stood, round by round. */
class Model {
  acknowledged = 0
  next = 0
  round = 0
  seq = 0
  readonly sent: Sent[] = []
  /** The highest seq whose reply was taken. */
  judged = 0
  /** How often it fell behind what was acknowledged, since the most ever; and stayed there, since it got further. */
  most = 0
  falls = 0
  stalls = 0

  stand(progress: number): void {
    if (progress > this.acknowledged) this.stalls = 0
    if (progress > this.most) [this.most, this.falls] = [progress, 0]
    this.acknowledged = progress
  }

  goBack(progress: number): void {
    if (progress < this.acknowledged) this.falls++
    if (progress === this.acknowledged) this.stalls++
    this.stand(progress)
    this.next = progress
    this.round++
  }

  get isRefused(): boolean {
    return Math.max(this.falls, this.stalls) > clientLimits.setbacks
  }
}

type Step = fc.Command<Model, Window>

const step = (text: string, run: (model: Model, window: Window) => void): Step => ({
  // What was refused is not gone on with.
  check: (model) => !model.isRefused,
  run(model, window) {
    run(model, window)
    const { acknowledged, taken, round } = window
    assert.deepEqual(
      { acknowledged, taken, round },
      { acknowledged: model.acknowledged, taken: model.next, round: model.round },
    )
  },
  toString: () => text,
})

const take = (mostBytes: number) =>
  step(`take ${mostBytes}`, (model, window) => {
    const { next: offset, acknowledged, round } = model
    const length = Math.min(mostBytes, windowBytes, size - offset)
    const fits = length > 0 && offset + length <= acknowledged + windowBytes
    assert.deepEqual(window.take(mostBytes), fits ? { offset, length } : undefined)
    if (!fits) return
    model.next += length
    window.sent(++model.seq)
    model.sent.push({ offset, length, seq: model.seq, round })
  })

/** `progress` is at the end of the chunk, before it, beyond it, or nowhere. */
const reply = (choice: number, told: (span: Span) => number) =>
  step(`a reply to ${choice}`, (model, window) => {
    const chunk = model.sent[choice % Math.max(1, model.sent.length)]
    if (!chunk) return
    const progress = told(chunk)
    const isOld = chunk.seq <= model.judged || chunk.round < model.round
    if (!isOld && progress > size) {
      assert.throws(() => window.reply(chunk.seq, chunk, progress), { code: 'malformed' })
      return
    }
    if (!isOld) {
      model.judged = chunk.seq
      if (progress < chunk.offset + chunk.length) model.goBack(progress)
      else {
        model.stand(progress)
        model.next = Math.max(model.next, progress)
      }
    }
    if (model.isRefused) assert.throws(() => window.reply(chunk.seq, chunk, progress), { code: 'wrong-offset' })
    else window.reply(chunk.seq, chunk, progress)
  })

const goBack = (progress: number) =>
  step(`go back to ${progress}`, (model, window) => {
    if (progress > size) return assert.throws(() => window.goBack(progress), { code: 'malformed' })
    model.goBack(progress)
    if (model.isRefused) assert.throws(() => window.goBack(progress), { code: 'wrong-offset' })
    else window.goBack(progress)
  })

/** The server stays where it is, or falls behind, again and again. */
const stay = (times: number, behind: number) =>
  step(`${behind} behind, ${times} times`, (model, window) => {
    for (let left = times; left > 0 && !model.isRefused; left--) {
      const progress = Math.max(0, model.acknowledged - behind)
      model.goBack(progress)
      if (model.isRefused) assert.throws(() => window.goBack(progress), { code: 'wrong-offset' })
      else window.goBack(progress)
    }
  })

spec('a window, for any replies,', (it) => {
  it('behaves as its model, and fails after it went back too often', () => {
    const steps = fc.commands(
      [
        fc.integer({ min: 1, max: 40 }).map(take),
        fc.integer({ min: 1, max: 40 }).map(take),
        fc.nat({ max: 60 }).map((choice) => reply(choice, ({ offset, length }) => offset + length)),
        fc.tuple(fc.nat({ max: 60 }), fc.nat({ max: 130 })).map(([choice, progress]) => reply(choice, () => progress)),
        fc.nat({ max: 60 }).map((choice) => reply(choice, ({ offset }) => offset)),
        fc.nat({ max: 120 }).map(goBack),
        fc.tuple(fc.constantFrom(1, 3, 10), fc.nat({ max: 1 })).map((of) => stay(...of)),
      ],
      { maxCommands: 100, size: 'max' },
    )
    let refused = 0
    const property = fc.property(steps, (commands) => {
      const model = new Model()
      fc.modelRun(() => ({ model, real: new Window(size, 0, windowBytes) }), commands)
      if (model.isRefused) refused++
    })
    fc.assert(property, { numRuns: 300 })
    assert.ok(refused > 0, 'some were refused')
  })
})
