import assert from 'node:assert/strict'
import fc from 'fast-check'
import { Turnstile } from '../../lib/core/turnstile.ts'
import { spec } from '../support/spec.ts'

/** What each of so many is told who come at the same moment. */
const crowd = (turnstile: Turnstile, count: number, now: number) =>
  Array.from({ length: count }, () => turnstile.enter(now))

spec('a turnstile', (it) => {
  it("lets a second's worth in at once", () => {
    assert.deepEqual(crowd(new Turnstile(3, 0), 3, 0), [0, 0, 0])
  })

  it('tells each further one to come later than the one before', () => {
    const told = crowd(new Turnstile(4, 0), 10, 0).slice(4)
    assert.deepEqual(told, [250, 500, 750, 1_000, 1_250, 1_500])
  })

  it('has room again as time passes, for a second of it at most', () => {
    const turnstile = new Turnstile(4, 0)
    crowd(turnstile, 4, 0)
    assert.deepEqual(crowd(turnstile, 2, 250), [0, 250])
    assert.deepEqual(crowd(turnstile, 5, 3_600_000), [0, 0, 0, 0, 250])
  })

  it('forgets those who had the time to come back', () => {
    const turnstile = new Turnstile(2, 0)
    assert.deepEqual(crowd(turnstile, 6, 0), [0, 0, 500, 1_000, 1_500, 2_000])
    assert.deepEqual(crowd(turnstile, 3, 60_000), [0, 0, 500])
  })

  it('lets everybody in who comes back when told, whatever its rate', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 1, max: 3_000 }),
      fc.double({ min: 0, max: 1e9, noNaN: true }),
      (perSecond, count, now) => {
        const turnstile = new Turnstile(perSecond, now)
        const back = crowd(turnstile, count, now).filter((ms) => ms > 0)
        assert.equal(back.length, Math.max(0, count - perSecond))
        for (const ms of back) assert.equal(turnstile.enter(now + ms), 0)
      },
    )
    fc.assert(property, { numRuns: 200 })
  })

  it('lets in no more than its rate and one second of it, whoever comes when', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 300 }),
      (perSecond, waits) => {
        const turnstile = new Turnstile(perSecond, 0)
        let [now, entered] = [0, 0]
        for (const ms of waits) {
          now += ms
          if (turnstile.enter(now) === 0) entered++
        }
        assert.ok(entered <= perSecond + (now / 1_000) * perSecond + 1)
      },
    )
    fc.assert(property, { numRuns: 200 })
  })
})
