import assert from 'node:assert/strict'
import { Requests, type Timing } from '../../lib/core/requests.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { chunkFrame, pauseFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

/** `fraction` is the jitter. */
const requestsOn = (reliable: boolean, fraction = 0) => new Requests<string>(reliable, () => fraction)
type Some = ReturnType<typeof requestsOn>

/** Asks a REQ and hands it to the socket. */
function ask(requests: Some, seq: number, now: number, timing: Timing = 'timer'): Frame {
  const frame = timing === 'chunk' ? chunkFrame(seq) : pauseFrame(seq)
  requests.add(frame, `context ${seq}`, timing)
  requests.sent(seq, now)
  return frame
}

/** Lets the timers run up to `until` where every repetition is sent at once; the times of repetition, each from 0 on. */
function repetitions(requests: Some, until: number, heardAt = (now: number) => now): number[] {
  const times: number[] = []
  for (let at = requests.deadline; at <= until; at = requests.deadline) {
    const due = requests.due(at, heardAt(at))
    if (due.dead) return times
    for (const {
      frame: { seq },
    } of due.copies) {
      times.push(at)
      requests.sent(seq, at)
    }
  }
  return times
}

spec('requests on a reliable socket', (it) => {
  it('are repeated after ten seconds, doubled up to thirty', () => {
    const requests = requestsOn(true)
    ask(requests, 1, 0)
    assert.deepEqual(repetitions(requests, 100_000), [10_000, 30_000, 60_000, 90_000])
  })

  it('are never repeated by a timer if they are chunks or files', () => {
    for (const timing of ['chunk', 'bulk'] as const) {
      const requests = requestsOn(true)
      ask(requests, 1, 0, timing)
      assert.equal(requests.deadline, Number.POSITIVE_INFINITY)
      assert.deepEqual(requests.due(1e9, 0).copies, [])
    }
  })
})

spec('requests on a socket that loses frames', (it) => {
  it('are repeated after a second, doubled up to thirty seconds, including chunks and files', () => {
    for (const timing of ['timer', 'chunk', 'bulk'] as const) {
      const requests = requestsOn(false)
      ask(requests, 1, 0, timing)
      assert.deepEqual(repetitions(requests, 95_000), [1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000])
    }
  })

  it('wait up to a quarter longer at random, but never more than the maximum', () => {
    const requests = requestsOn(false, 0.8)
    ask(requests, 1, 0)
    assert.deepEqual(repetitions(requests, 60_000), [1_200, 3_600, 8_400, 18_000, 37_200])
    const [atLeast] = repetitions(asked(requestsOn(false, 0)), 10_000)
    const [atMost = 0] = repetitions(asked(requestsOn(false, 0.999)), 10_000)
    assert.equal(atLeast, 1_000)
    assert.ok(atMost > 1_200 && atMost < 1_250)
    function asked(some: Some): Some {
      ask(some, 1, 0)
      return some
    }
  })

  it('are repeated after the measured time-out of the path', () => {
    const requests = requestsOn(false)
    for (let seq = 1; seq <= 100; seq++) {
      ask(requests, seq, seq * 1_000)
      requests.settle(seq, seq * 1_000 + 400)
    }
    ask(requests, 101, 0)
    assert.ok(Math.abs(requests.deadline - 400) < 1)
  })

  it('are not measured if they were repeated (Karn)', () => {
    const requests = requestsOn(false)
    ask(requests, 1, 0)
    requests.settle(1, 400)
    ask(requests, 2, 1_000)
    requests.due(2_200, 0)
    requests.sent(2, 2_200)
    requests.settle(2, 2_201)
    ask(requests, 3, 5_000)
    requests.settle(3, 5_400)
    ask(requests, 4, 10_000)
    assert.equal(requests.deadline, 10_000 + 400 + 4 * 150)
  })

  it('are eventually measured on a path that is slower than the first time-out', () => {
    const requests = requestsOn(false)
    let repeated = 0
    for (let seq = 1; seq <= 20; seq++) {
      ask(requests, seq, seq * 100_000)
      const before = repeated
      repeated += repetitions(requests, seq * 100_000 + 3_000).length
      assert.ok(repeated === before || seq < 5, `REQ ${seq} was still repeated`)
      requests.settle(seq, seq * 100_000 + 3_000)
    }
  })
})

spec('unanswered requests', (it) => {
  it('have flag bit 0 in repetitions only, and are otherwise unchanged', () => {
    const requests = requestsOn(false)
    const frame = ask(requests, 1, 0)
    assert.equal(frame.flags, 0)
    assert.deepEqual(requests.due(1_000, 0).copies, [{ frame: { ...frame, flags: 1 }, onFlushed: undefined }])
    assert.equal(frame.flags, 0)
  })

  it('are not repeated until they, or their last repetition, were passed to the socket', () => {
    const requests = requestsOn(false)
    requests.add(pauseFrame(1), '', 'timer')
    assert.equal(requests.deadline, Number.POSITIVE_INFINITY)
    requests.sent(1, 5_000)
    assert.equal(requests.due(6_000, 0).copies.length, 1)
    assert.equal(requests.due(1e6, 0).copies.length, 0)
    requests.sent(1, 2e6)
    assert.equal(requests.deadline, 2e6 + 2_000)
  })

  it('return their context once', () => {
    const requests = requestsOn(true)
    const frame = ask(requests, 7, 0)
    assert.deepEqual([requests.settle(7, 1)?.context, requests.settle(7, 1)], ['context 7', undefined])
    assert.equal(requests.settle(8, 1), undefined)
    requests.add(frame, 'again', 'timer')
    assert.equal(requests.settle(7, 1), undefined, 'what was never sent has no answer')
    requests.sent(7, 2)
    assert.equal(requests.settle(7, 3)?.context, 'again')
  })

  it('set no timer if there are none', () => {
    const requests = requestsOn(false)
    ask(requests, 1, 0)
    requests.settle(1, 10)
    assert.equal(requests.deadline, Number.POSITIVE_INFINITY)
  })

  it('are due at the earliest timer', () => {
    const requests = requestsOn(false)
    ask(requests, 1, 0)
    ask(requests, 2, 100)
    requests.settle(1, 100)
    assert.ok(requests.deadline <= 1_100)
    assert.deepEqual(requests.due(1_000, 0).copies, [])
    assert.equal(requests.deadline, 1_100)
  })
})

spec('a link', (it) => {
  it('is dead after eight tries without a received byte', () => {
    const requests = requestsOn(false)
    ask(requests, 1, 0)
    assert.equal(repetitions(requests, 1e6, () => 0).length, 7)
    const last = requests.deadline
    assert.equal(requests.due(last, 0).dead, true)
  })

  it('is not dead while bytes arrive: a slow reply is not a dead link', () => {
    const requests = requestsOn(false)
    ask(requests, 1, 0)
    assert.ok(repetitions(requests, 3_600_000).length > 100)
  })

  it('is not dead if bytes arrived during some tries, which do not count', () => {
    const requests = requestsOn(false)
    ask(requests, 1, 0)
    const heardAt = (now: number) => (now < 20_000 ? now : 15_500)
    assert.equal(repetitions(requests, 1e6, heardAt).length, 5 + 7)
  })
})

spec('the rule of 511', (it) => {
  /** REQs from `first` on, none of them answered. */
  function many(requests: Some, first: number, count: number): void {
    for (let seq = first; seq < first + count; seq++) ask(requests, seq, 0)
  }

  it('allows 511 requests after the oldest unanswered one', () => {
    const requests = requestsOn(true)
    many(requests, 1, 512)
    assert.equal(requests.decide(512), 'now')
    requests.add(pauseFrame(513), '', 'timer')
    assert.equal(requests.decide(513), 'later')
    requests.settle(400, 1)
    assert.equal(requests.decide(513), 'later')
    requests.settle(1, 1)
    assert.equal(requests.decide(513), 'now')
  })

  it('does not count chunks, and does not delay them', () => {
    const requests = requestsOn(true)
    ask(requests, 1, 0)
    for (let seq = 2; seq < 2_000; seq++) ask(requests, seq, 0, 'chunk')
    many(requests, 2_000, 511)
    assert.equal(requests.decide(2_510), 'now')
    ask(requests, 3_000, 0, 'chunk')
    assert.equal(requests.decide(3_000), 'now')
    requests.add(pauseFrame(3_001), '', 'timer')
    assert.equal(requests.decide(3_001), 'later')
  })

  it('counts files in one request, and delays them', () => {
    const requests = requestsOn(true)
    for (let seq = 1; seq <= 512; seq++) ask(requests, seq, 0, 'bulk')
    requests.add(pauseFrame(513), '', 'bulk')
    assert.equal(requests.decide(513), 'later')
    requests.settle(1, 1)
    assert.equal(requests.decide(513), 'now')
  })

  it('does not apply to an answered request, which is not sent any more', () => {
    const requests = requestsOn(true)
    ask(requests, 1, 0)
    requests.settle(1, 1)
    assert.equal(requests.decide(1), 'never')
  })

  it('offers the oldest request for repetition once if a new one would have to wait', () => {
    const requests = requestsOn(true)
    many(requests, 1, 511)
    assert.equal(requests.instead(), undefined)
    ask(requests, 512, 0)
    const frame = requests.instead()?.frame
    assert.deepEqual([frame?.seq, frame?.flags], [1, 1])
    assert.equal(requests.instead(), undefined)
    requests.sent(1, 15_000)
    assert.equal(requests.instead()?.frame.seq, 1)
  })
})
