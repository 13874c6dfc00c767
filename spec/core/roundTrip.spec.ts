import assert from 'node:assert/strict'
import fc from 'fast-check'
import { RoundTrip } from '../../lib/core/roundTrip.ts'
import { spec } from '../support/spec.ts'

function after(...samples: number[]): RoundTrip {
  const roundTrip = new RoundTrip()
  for (const ms of samples) roundTrip.sample(ms)
  return roundTrip
}

spec('a retransmission time-out', (it) => {
  it('is one second before anything is measured (RFC 6298, 2.1)', () => {
    assert.equal(after().timeoutMs(0), 1_000)
  })

  it('is three round trips after the first measurement (2.2: R + 4 * R / 2)', () => {
    assert.equal(after(500).timeoutMs(0), 1_500)
  })

  it('follows the measurements after it (2.3)', () => {
    // SRTT 500, RTTVAR 250; then RTTVAR 3/4 * 250 + 1/4 * |500 - 900| = 287.5, SRTT 7/8 * 500 + 1/8 * 900 = 550.
    assert.equal(after(500, 900).timeoutMs(0), 550 + 4 * 287.5)
    // RTTVAR 3/4 * 287.5 + 1/4 * |550 - 150| = 315.625, SRTT 7/8 * 550 + 1/8 * 150 = 500.
    assert.equal(after(500, 900, 150).timeoutMs(0), 500 + 4 * 315.625)
  })

  it('approaches a constant round trip', () => {
    assert.ok(Math.abs(after(...new Array<number>(200).fill(800)).timeoutMs(0) - 800) < 1)
  })

  it('doubles with each repetition', () => {
    const roundTrip = after(500)
    assert.deepEqual(
      [0, 1, 2, 3].map((repeats) => roundTrip.timeoutMs(repeats)),
      [1_500, 3_000, 6_000, 12_000],
    )
  })

  it('stays doubled for every request until there is a new measurement (5.5, 5.7)', () => {
    const roundTrip = after(500)
    roundTrip.repeated(2)
    roundTrip.repeated(1)
    assert.deepEqual([roundTrip.timeoutMs(0), roundTrip.timeoutMs(3)], [6_000, 12_000])
    roundTrip.sample(500)
    assert.equal(roundTrip.timeoutMs(0), 500 + 4 * 187.5)
  })

  it('is never outside its bounds', () => {
    assert.equal(after(1).timeoutMs(0), 200)
    assert.equal(after(1).timeoutMs(1), 400)
    assert.equal(after(60_000).timeoutMs(0), 30_000)
    const times = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }))
    const property = fc.property(times, fc.nat(2_000), (samples, repeats) => {
      const ms = after(...samples).timeoutMs(repeats)
      assert.ok(ms >= 200 && ms <= 30_000, `${ms}`)
    })
    fc.assert(property)
  })
})
