import assert from 'node:assert/strict'
import fc from 'fast-check'
import { AgeClock } from '../../lib/core/ageClock.ts'
import { spec } from '../support/spec.ts'

const hourMs = 3_600_000
const yearMs = 365 * 24 * hourMs
/** A wall clock's time, and a monotonic clock's, of the same moment. */
const wall = 1_700_000_000_000
const mono = 5_000

spec('the age clock', (it) => {
  it('starts at the wall clock', () => {
    assert.equal(new AgeClock(0, wall, mono).now(wall, mono), wall)
  })

  it('is never before 1970', () => {
    const clock = new AgeClock(0, -yearMs, mono)
    assert.deepEqual([clock.now(-yearMs, mono), clock.now(-yearMs + 5, mono + 5)], [0, 5])
  })

  it('follows the monotonic clock', () => {
    const clock = new AgeClock(0, wall, mono)
    for (const passed of [1, 1_000, hourMs, 40 * 24 * hourMs]) {
      assert.equal(clock.now(wall + passed, mono + passed), wall + passed)
    }
  })

  it('returns whole milliseconds', () => {
    assert.equal(new AgeClock(0, wall, 0.25).now(wall + 1, 1.5), wall + 1)
  })

  it('continues from the stored time', () => {
    assert.equal(new AgeClock(wall - 1_000, wall, mono).now(wall, mono), wall)
  })

  it('counts a long time without the program as one hour', () => {
    assert.equal(new AgeClock(wall - yearMs, wall, mono).now(wall, mono), wall - yearMs + hourMs)
  })

  it('is never before the stored time, however far back the wall clock was set', () => {
    const clock = new AgeClock(wall, wall - yearMs, mono)
    assert.equal(clock.now(wall - yearMs, mono), wall)
    assert.equal(clock.now(wall - yearMs + 10, mono + 10), wall + 10)
  })

  it('counts a jump forward up to an hour in full', () => {
    const clock = new AgeClock(0, wall, mono)
    assert.equal(clock.now(wall + hourMs / 2, mono), wall + hourMs / 2)
  })

  it('counts a jump of a year as one hour, once', () => {
    const clock = new AgeClock(0, wall, mono)
    for (const passed of [0, 10, 20]) {
      assert.equal(clock.now(wall + yearMs + passed, mono + passed), wall + hourMs + passed)
    }
  })

  it('continues during a jump back', () => {
    const clock = new AgeClock(0, wall, mono)
    assert.equal(clock.now(wall - yearMs + 10, mono + 10), wall + 10)
    assert.equal(clock.now(wall - yearMs + 20, mono + 20), wall + 20)
  })

  it('does not advance with a wall clock that goes back and forth', () => {
    const clock = new AgeClock(0, wall, mono)
    for (let times = 0; times < 1_000; times++) {
      clock.now(wall - hourMs, mono)
      clock.now(wall, mono)
    }
    assert.equal(clock.now(wall, mono), wall)
  })

  it('does not advance by calls between the ticks of the wall clock', () => {
    const clock = new AgeClock(0, wall, mono)
    for (let passed = 0; passed < 1_000; passed += 0.07) clock.now(wall + Math.floor(passed + 0.5), mono + passed)
    assert.ok(Math.abs(clock.now(wall + 1_000, mono + 1_000) - wall - 1_000) <= 2)
  })

  it('never goes back, and gains at most an hour for each new maximum of the wall clock', () => {
    const step = fc.tuple(fc.integer({ min: -2 * yearMs, max: 2 * yearMs }), fc.integer({ min: 0, max: hourMs }))
    const property = fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const clock = new AgeClock(0, wall, mono)
      let [passed, before, heights, highest] = [0, wall, 0, 0]
      for (const [ahead, ms] of steps) {
        passed += ms
        if (ahead > highest) heights++
        highest = Math.max(highest, ahead)
        const now = clock.now(wall + passed + ahead, mono + passed)
        assert.ok(now >= before + ms)
        assert.ok(now <= wall + passed + heights * hourMs)
        before = now
      }
    })
    fc.assert(property)
  })
})
