import assert from 'node:assert/strict'
import { DeliveryRate } from '../../lib/core/deliveryRate.ts'
import { spec } from '../support/spec.ts'

spec('the rate of acknowledgements', (it) => {
  it('is that of a round trip, also of several chunks in flight', () => {
    const rate = new DeliveryRate()
    for (let now = 0; now < 300; now += 100) rate.sent(1_000, now)
    assert.deepEqual(rate.acknowledged(1_000, 300), { bytesPerSecond: 1_000 / 0.3, roundTripMs: 300 })
    rate.sent(1_000, 300)
    assert.deepEqual([rate.chunks, rate.inFlight], [3, 3_000])
    rate.acknowledged(1_000, 400)
    rate.acknowledged(1_000, 500)
    assert.deepEqual(rate.acknowledged(1_000, 600), { bytesPerSecond: 10_000, roundTripMs: 300 })
  })

  it('includes a stall, although the chunks after it are acknowledged together', () => {
    const rate = new DeliveryRate()
    rate.sent(1_000, 0)
    rate.acknowledged(1_000, 100)
    for (let now = 100; now < 2_100; now += 500) rate.sent(1_000, now)
    const samples = Array.from({ length: 4 }, () => rate.acknowledged(1_000, 2_100)?.bytesPerSecond)
    assert.deepEqual(samples, [500, 1_000, 1_500, 2_000])
  })

  it('does not include idle time and refused chunks', () => {
    const rate = new DeliveryRate()
    rate.sent(1_000, 0)
    rate.acknowledged(1_000, 100)
    rate.sent(5_000, 200)
    rate.dropped(5_000)
    rate.sent(1_000, 9_000)
    assert.equal(rate.waitedMs(9_050), 50)
    assert.deepEqual(rate.acknowledged(1_000, 9_100), { bytesPerSecond: 10_000, roundTripMs: 100 })
    assert.equal(rate.waitedMs(20_000), 0)
  })

  it('ignores replies to chunks of an earlier link', () => {
    const rate = new DeliveryRate()
    assert.equal(rate.acknowledged(1_000, 0), undefined)
    rate.dropped(1_000)
    assert.equal(rate.inFlight, 0)
  })
})
