import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import { ReadGate, UserRateLimiters } from '../../../lib/server/connections/userRateLimiters.ts'
import { manualPlatform } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

/** A link that is read, and whether it is at present. */
function reading() {
  const link = { read: true }
  const peer = {
    pause: () => {
      link.read = false
    },
    resume: () => {
      link.read = true
    },
  }
  return { link, reading: new ReadGate(peer, () => Number.POSITIVE_INFINITY) }
}

spec('the work of a user who sends requests without pause', (it) => {
  it('is interrupted for the links of others, although the clock advances during the work', () => {
    const platform = manualPlatform()
    const { clock } = platform
    const limiter = new UserRateLimiters({ limits: defaultLimits, platform, log: () => {} }).enter('alice')
    const one = reading()
    let requests = 0
    for (; one.link.read && requests < 1_000; requests++) {
      clock.freeze(0.1)
      limiter.countWork(0.1, one.reading)
    }
    assert.equal(requests, 51)
    clock.pass(1)
    assert.ok(one.link.read)
  })
})
