import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Requests, type Timing } from '../../lib/core/requests.ts'
import { fixed } from '../../lib/limits.ts'
import { pauseFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

interface Req {
  readonly seq: number
  readonly timing: Timing
  /** Among those that are no chunks. */
  readonly ordinal: number
  sentAt: number
  repeats: number
  tries: number
  repeatAt: number
  /** Copies of it whose bytes have not left. */
  copies: number
  settled: boolean
  freed: boolean
}

const never = Number.POSITIVE_INFINITY

/** REQs, told simply: all that were ever asked, in their order. */
class Model {
  readonly reliable: boolean
  readonly all: Req[] = []
  now = 0
  heardAt = 0
  /** Times between REQs that were never repeated and their replies. */
  samples: number[] = []
  doublings = 0
  /** REQs that are no chunks, so far. */
  asked = 0

  constructor(reliable: boolean) {
    this.reliable = reliable
  }

  get unanswered(): Req[] {
    return this.all.filter(({ settled }) => !settled)
  }

  /** Whether a REQ of this ordinal is one of the 511 that may follow the oldest unanswered one, or that one. */
  mayFollow(ordinal: number): boolean {
    const oldest = this.unanswered.find(({ timing }) => timing !== 'chunk')
    return !oldest || ordinal - oldest.ordinal <= 511
  }

  timeoutMs({ timing, repeats }: Req): number {
    if (timing === 'own' || (this.reliable && timing !== 'timer')) return never
    if (this.reliable) return Math.min(30_000, 10_000 * 2 ** repeats)
    return Math.min(30_000, Math.max(200, this.#estimateMs()) * 2 ** Math.max(repeats, this.doublings))
  }

  free(req: Req): void {
    if (req.copies === 0 && (req.settled || this.reliable || req.timing === 'own')) req.freed = true
  }

  /** RFC 6298 §2. */
  #estimateMs(): number {
    const [first, ...others] = this.samples
    if (first === undefined) return 1_000
    let [smoothed, variation] = [first, first / 2]
    for (const ms of others) {
      variation = 0.75 * variation + 0.25 * Math.abs(smoothed - ms)
      smoothed = 0.875 * smoothed + 0.125 * ms
    }
    return smoothed + 4 * variation
  }
}

/** The REQs as they are, which of them were freed, and what runs when bytes of copies leave. */
class Real {
  readonly requests: Requests<number>
  readonly freed: number[] = []
  readonly lefts: { readonly seq: number; readonly onFlushed: (() => void) | undefined }[] = []

  constructor(reliable: boolean) {
    this.requests = new Requests(reliable, () => 0)
  }
}

type Step = fc.Command<Model, Real>

/** A step that can be done at any time. */
function step(text: string, run: (model: Model, real: Real) => void): Step {
  const checked = (model: Model, real: Real) => {
    run(model, real)
    assertSame(model, real)
  }
  return { check: () => true, run: checked, toString: () => text }
}

function assertSame(model: Model, { requests, freed }: Real): void {
  const { unanswered } = model
  for (const req of [...unanswered.slice(0, 3), ...unanswered.slice(-3)]) {
    const isNow = req.timing === 'chunk' || model.mayFollow(req.ordinal)
    assert.equal(requests.decide(req.seq), isNow ? 'now' : 'later', `the turn of ${req.seq}`)
    assert.equal(requests.isAwaitingReply(req.seq), req.sentAt < never)
  }
  assert.equal(requests.decide(model.all.length + 1), 'never')
  assert.ok(requests.deadline <= Math.min(never, ...unanswered.map(({ repeatAt }) => repeatAt)))
  const free = model.all.filter((req) => req.freed)
  const seqs = new Set(freed)
  assert.ok(freed.length === free.length && free.every(({ seq }) => seqs.has(seq)), 'each is freed once, in its time')
}

const add = (timing: Timing, count: number) =>
  step(`ask ${count} ${timing}`, (model, { requests, freed, lefts }) => {
    for (let left = count; left > 0; left--) {
      const seq = model.all.length + 1
      const timers = { sentAt: never, repeats: 0, tries: 0, repeatAt: never }
      const ordinal = timing === 'chunk' ? model.asked : ++model.asked
      model.all.push({ seq, timing, ordinal, ...timers, copies: 1, settled: false, freed: false })
      const copy = requests.add(pauseFrame(seq), seq, timing, () => freed.push(seq))
      assert.deepEqual([copy.frame.seq, copy.frame.flags], [seq, 0])
      lefts.push({ seq, onFlushed: copy.onFlushed })
    }
  })

/** Those that are asked and may be sent are sent, up to so many. */
const send = (most: number) =>
  step(`send ${most}`, (model, { requests }) => {
    const waiting = model.unanswered.filter(
      ({ repeatAt, timing, sentAt }) => repeatAt === never && (timing !== 'own' || sentAt === never),
    )
    for (const req of waiting
      .filter(({ ordinal, timing }) => timing === 'chunk' || model.mayFollow(ordinal))
      .slice(0, most)) {
      req.sentAt = model.now
      req.repeatAt = model.now + model.timeoutMs(req)
      requests.sent(req.seq, model.now)
    }
  })

const settle = (choice: number) =>
  step(`a reply to ${choice}`, (model, { requests }) => {
    const req = model.all[choice % Math.max(1, model.all.length)]
    if (!req) return
    const isUnanswered = !req.settled && req.sentAt < never
    const settled = requests.settle(req.seq, model.now)
    assert.equal(settled?.context, isUnanswered ? req.seq : undefined)
    if (!isUnanswered) return
    req.settled = true
    model.free(req)
    // Karn: the time of what was repeated says nothing.
    if (req.repeats > 0 || req.timing === 'own') return
    model.samples.push(model.now - req.sentAt)
    model.doublings = 0
  })

const abandon = (choice: number) =>
  step(`give up ${choice}`, (model, { requests }) => {
    const req = model.all[choice % Math.max(1, model.all.length)]
    if (!req) return
    assert.equal(requests.abandon(req.seq), req.settled ? undefined : req.seq)
    if (req.settled) return
    req.settled = true
    model.free(req)
  })

const leave = (choice: number) =>
  step(`bytes of ${choice} leave`, (model, { lefts }) => {
    const [copy] = lefts.splice(choice % Math.max(1, lefts.length), 1)
    const req = model.all.find(({ seq }) => seq === copy?.seq)
    if (!copy || !req) return
    req.copies--
    copy.onFlushed?.()
    model.free(req)
  })

function repeated(model: Model, req: Req, real: Real, left: (() => void) | undefined): void {
  req.repeats++
  req.copies++
  req.repeatAt = never
  model.doublings = Math.max(model.doublings, req.repeats)
  real.lefts.push({ seq: req.seq, onFlushed: left })
}

const pass = (ms: number, isHeard: boolean) =>
  step(`${ms} ms${isHeard ? ', something is heard' : ''}`, (model, real) => {
    model.now += ms
    if (isHeard) model.heardAt = model.now
    const due = model.unanswered.filter(({ repeatAt }) => repeatAt <= model.now)
    const { copies, dead } = real.requests.due(model.now, model.heardAt)
    assert.deepEqual(
      copies.map(({ frame }) => [frame.seq, frame.flags]),
      due.map(({ seq }) => [seq, 1]),
    )
    for (const [at, req] of due.entries()) {
      if (model.heardAt <= req.sentAt) req.tries++
      repeated(model, req, real, copies[at]?.onFlushed)
    }
    assert.equal(
      dead,
      due.some(({ tries }) => tries >= fixed.tries),
    )
  })

const instead = step('something in place of a new one', (model, real) => {
  const oldest = model.unanswered.find(({ timing }) => timing !== 'chunk')
  const expected = model.mayFollow(model.asked + 1) || oldest?.repeatAt === never ? undefined : oldest
  const copy = real.requests.instead()
  assert.equal(copy?.frame.seq, expected?.seq)
  if (expected) repeated(model, expected, real, copy?.onFlushed)
})

spec('unanswered requests, in any order of events,', (it) => {
  const choice = fc.nat({ max: 2_000 })
  const steps = fc.commands(
    [
      fc
        .tuple(fc.constantFrom<Timing[]>('timer', 'timer', 'bulk', 'chunk', 'own'), fc.constantFrom(1, 2, 5))
        .map((of) => add(...of)),
      fc.constantFrom(1, 2, 2, 3, 300).map((count) => add('timer', count)),
      fc.constantFrom(1, 3, 600).map(send),
      fc.constantFrom(600).map(send),
      choice.map(settle),
      choice.map(abandon),
      choice.map(leave),
      fc.tuple(fc.constantFrom(0, 1, 150, 700, 2_500, 31_000), fc.boolean()).map((of) => pass(...of)),
      fc.constant(instead),
    ],
    { maxCommands: 40, size: 'max' },
  )
  for (const reliable of [true, false]) {
    it(`behave as their model, ${reliable ? 'if no frame is lost' : 'if frames are lost'}`, () => {
      const property = fc.property(steps, (commands) => {
        fc.modelRun(() => ({ model: new Model(reliable), real: new Real(reliable) }), commands)
      })
      fc.assert(property, { numRuns: 80 })
    })
  }
})
