import assert from 'node:assert/strict'
import { fixed } from '../../lib/limits.ts'
import { eventNames, frameFor } from '../support/frames.ts'
import { spec } from '../support/spec.ts'
import { handed, interval, linkOf } from './links.ts'

const pause = { event: 'PauseFileReq' } as const
const anything = frameFor({ event: 'GoodbyeNtf', code: 5, retryAfter: 0, text: '' }, 0)

spec('an idle link', (it) => {
  it('pings in every interval, also while it receives, and sends the list version in the reply', () => {
    const link = linkOf('client')
    for (let now = 0; now < interval; now += 1_000) {
      assert.equal(link.advance(now), undefined)
      link.receive(anything, now)
    }
    assert.deepEqual(handed(link, interval - 1), [])
    assert.equal(link.deadline, interval)
    link.advance(interval)
    const [ping] = handed(link, interval)
    assert.deepEqual(eventNames([ping ?? assert.fail()]), ['PingReq'])
    const pong = link.receive(frameFor({ event: 'PingAck', listVersion: 7 }, 1), interval)
    assert.deepEqual(pong, { kind: 'pong', listVersion: 7 })
    assert.equal(link.deadline, 2 * interval)
  })

  it('sends no request until the first frame of the peer, which a reply could overtake', () => {
    const link = linkOf('server', true, 'HelloReq')
    link.advance(interval)
    assert.deepEqual(handed(link, interval), [])
    assert.equal(link.deadline, 2 * interval)
  })

  it('does not ping if it has sent something', () => {
    const link = linkOf('client')
    link.request(pause, 1, 'a')
    handed(link, 10_000)
    link.receive(frameFor({ event: 'PauseFileAck', progress: 5, durable: 5 }, 1, 1), 14_000)
    link.advance(interval)
    assert.deepEqual(handed(link, interval), [])
    assert.equal(link.deadline, 25_000)
  })

  it('is dead after two silent intervals', () => {
    const link = linkOf('client')
    let now = 0
    for (; now < 10 * interval; now = link.deadline) {
      const dead = link.advance(now)
      if (dead) break
      handed(link, now)
    }
    assert.equal(now, 2 * interval + interval * fixed.reprieve)
  })

  it('repeats its oldest request if a ping would have to wait for replies', () => {
    const link = linkOf('client')
    for (let seq = 1; seq <= 600; seq++) link.request(pause, 1, '')
    assert.equal(handed(link, 9_000).length, 512)
    link.receive(anything, 9_000)
    link.advance(18_900)
    assert.deepEqual(handed(link, 18_900), [])
    link.keepAlive.intervalMs = 9_900
    link.advance(18_900)
    assert.deepEqual(
      handed(link, 18_900).map(({ seq, flags }) => [seq, flags]),
      [[1, 1]],
    )
    const queued = link.queues.smallBytes
    assert.equal(queued, 88 * 20, 'and no ping waits')
    assert.ok(link.deadline > 18_900)
  })

  it('always has a deadline in the future', () => {
    const link = linkOf('client', false)
    link.request(pause, 1, 'a')
    let now = 0
    for (let steps = 0; now < 30_000; steps++) {
      assert.ok(steps < 100)
      link.advance(now)
      handed(link, now)
      assert.ok(link.deadline > now)
      now = link.deadline
    }
  })
})
