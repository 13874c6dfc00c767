import assert from 'node:assert/strict'
import fc from 'fast-check'
import { KeyedTokenBuckets, TokenBucket } from '../../lib/core/tokenBucket.ts'
import { spec } from '../support/spec.ts'

const mostMs = 30_000

/** What each of so many is told who come at the same moment. */
const crowd = (bucket: TokenBucket, count: number, now: number) => Array.from({ length: count }, () => bucket.take(now))

spec('a token bucket', (it) => {
  it('grants the tokens of one second at once', () => {
    assert.deepEqual(crowd(new TokenBucket(3, mostMs, 0), 3, 0), [0, 0, 0])
  })

  it('returns a longer wait for each further caller', () => {
    const told = crowd(new TokenBucket(4, mostMs, 0), 10, 0).slice(4)
    assert.deepEqual(told, [250, 500, 750, 1_000, 1_250, 1_500])
  })

  it('gains tokens over time, at most those of one second', () => {
    const bucket = new TokenBucket(4, mostMs, 0)
    crowd(bucket, 4, 0)
    assert.deepEqual(crowd(bucket, 2, 250), [0, 250])
    assert.deepEqual(crowd(bucket, 5, 3_600_000), [0, 0, 0, 0, 250])
  })

  it('ignores refused callers after their wait', () => {
    const bucket = new TokenBucket(2, mostMs, 0)
    assert.deepEqual(crowd(bucket, 6, 0), [0, 0, 500, 1_000, 1_500, 2_000])
    assert.deepEqual(crowd(bucket, 3, 60_000), [0, 0, 500])
  })

  it('never returns a wait over its maximum, however many callers there are', () => {
    const bucket = new TokenBucket(2, mostMs, 0)
    assert.equal(Math.max(...crowd(bucket, 100_000, 0)), mostMs)
    assert.deepEqual(crowd(bucket, 3, mostMs), [0, 0, 500])
  })

  it('grants a token to each caller that returns after its wait, at any rate', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 1, max: 3_000 }),
      fc.double({ min: 0, max: 1e9, noNaN: true }),
      (perSecond, crowded, now) => {
        const count = Math.min(crowded, 31 * perSecond)
        const bucket = new TokenBucket(perSecond, mostMs, now)
        const back = crowd(bucket, count, now).filter((ms) => ms > 0)
        assert.equal(back.length, Math.max(0, count - perSecond))
        for (const ms of back) assert.equal(bucket.take(now + ms), 0)
      },
    )
    fc.assert(property, { numRuns: 200 })
  })

  it('grants at most its rate and the tokens of one second, in any order of calls', () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 300 }),
      (perSecond, waits) => {
        const bucket = new TokenBucket(perSecond, mostMs, 0)
        let [now, entered] = [0, 0]
        for (const ms of waits) {
          now += ms
          if (bucket.take(now) === 0) entered++
        }
        assert.ok(entered <= perSecond + (now / 1_000) * perSecond + 1)
      },
    )
    fc.assert(property, { numRuns: 200 })
  })
})

spec('keyed token buckets', (it) => {
  it('grant tokens for each key', () => {
    const buckets = new KeyedTokenBuckets(2, mostMs, 10)
    const told = ['a', 'a', 'a', 'b', 'a', 'b', 'b'].map((key) => buckets.take(key, 0))
    assert.deepEqual(told, [0, 0, 500, 0, 1_000, 0, 500])
  })

  it('keep only the latest keys', () => {
    const buckets = new KeyedTokenBuckets(1, mostMs, 2)
    const told = ['a', 'b', 'a', 'c', 'a', 'b'].map((key) => buckets.take(key, 0))
    assert.deepEqual(told, [0, 0, 1_000, 0, 2_000, 0])
    assert.equal(buckets.size, 2)
  })
})
