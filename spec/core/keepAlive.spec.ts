import assert from 'node:assert/strict'
import { KeepAlive } from '../../lib/core/keepAlive.ts'
import { spec } from '../support/spec.ts'

const second = 1_000

/** With an interval of 16 s, since second 0; a peer that seems dead has two seconds more. */
const started = () => new KeepAlive(16 * second, 0)

/** Asks whether the link is dead, as often as its deadline says, up to `until`; when it died, and of what. */
function death(keepAlive: KeepAlive, until: number, meanwhile: (now: number) => void = () => {}): [number, string] {
  for (let now = 0; now <= until; now = Math.max(now + 1, Math.min(keepAlive.deadline, now + second))) {
    meanwhile(now)
    const dead = keepAlive.dead(now)
    if (dead) return [now / second, dead.code]
    if (keepAlive.silent(now)) keepAlive.spoke(now)
  }
  return [Number.POSITIVE_INFINITY, 'alive']
}

const hour = 3_600 * second
const alive: [number, string] = [Number.POSITIVE_INFINITY, 'alive']

spec('a link that is kept alive', (it) => {
  it('sends in every interval, also while it receives much', () => {
    const keepAlive = started()
    for (let now = 0; now < 16 * second; now += 100) {
      keepAlive.heard(now)
      assert.equal(keepAlive.silent(now), false)
    }
    assert.equal(keepAlive.deadline, 16 * second)
    assert.equal(keepAlive.silent(16 * second), true)
    keepAlive.spoke(16 * second)
    assert.equal(keepAlive.silent(31 * second), false)
  })

  it('uses a new interval at once', () => {
    const keepAlive = started()
    keepAlive.intervalMs = 2 * second
    assert.equal(keepAlive.deadline, 2 * second)
  })

  it('is dead shortly after two silent intervals', () => {
    assert.deepEqual(death(started(), hour), [34, 'timed-out'])
  })

  it('is alive as long as frames arrive now and then', () => {
    const keepAlive = started()
    const now = death(keepAlive, hour, (at) => at % (31 * second) === 0 && keepAlive.heard(at))
    assert.deepEqual(now, alive)
  })

  it('is not dead while bytes arrive, even slowly', () => {
    const keepAlive = started()
    keepAlive.begun(1024 * 1024, 0)
    assert.deepEqual(
      death(keepAlive, 250 * second, (now) => keepAlive.begun(1024 * 1024, now)),
      alive,
    )
  })
})

spec('an incomplete frame', (it) => {
  it('must be complete within two intervals and its length at 4 KiB per second, even if bytes never stop', () => {
    const keepAlive = started()
    assert.deepEqual(
      death(keepAlive, hour, (now) => keepAlive.begun(now < 10 * second ? 0 : 40 * 1024, now)),
      [32 + 10 + 2, 'timed-out'],
    )
  })

  it('has that time even for the header, with a byte now and then', () => {
    const keepAlive = started()
    assert.deepEqual(
      death(keepAlive, hour, (now) => keepAlive.begun(0, now)),
      [34, 'timed-out'],
    )
  })

  it('has no deadline after it is complete', () => {
    const keepAlive = started()
    const now = death(keepAlive, hour, (at) => {
      if (at % (30 * second) === 0) keepAlive.heard(at)
      keepAlive.begun(100, at)
    })
    assert.deepEqual(now, alive)
  })
})

spec('time without reading', (it) => {
  it('does not count as silence', () => {
    const keepAlive = started()
    keepAlive.paused(20 * second)
    assert.equal(keepAlive.dead(500 * second), undefined)
    keepAlive.resumed(500 * second)
    keepAlive.spoke(500 * second)
    assert.equal(keepAlive.deadline, 512 * second)
    assert.equal(keepAlive.dead(511 * second), undefined)
  })

  it('does not count for an incomplete frame', () => {
    const keepAlive = started()
    keepAlive.begun(0, 10 * second)
    keepAlive.paused(20 * second)
    keepAlive.resumed(120 * second)
    keepAlive.spoke(140 * second)
    assert.equal(keepAlive.deadline, 142 * second)
  })

  it('is not excused twice if bytes arrived meanwhile', () => {
    const keepAlive = started()
    keepAlive.paused(0)
    keepAlive.heard(100 * second)
    keepAlive.resumed(101 * second)
    keepAlive.spoke(130 * second)
    assert.equal(keepAlive.deadline, 133 * second)
  })

  it('counts as a received byte for repeated requests', () => {
    const keepAlive = started()
    keepAlive.heard(5)
    assert.equal(keepAlive.heardAt(900), 5)
    keepAlive.paused(1_000)
    assert.equal(keepAlive.heardAt(2_000), 2_000)
    keepAlive.resumed(3_000)
    assert.equal(keepAlive.heardAt(4_000), 3_000)
  })

  it('can be reported twice', () => {
    const keepAlive = started()
    keepAlive.resumed(second)
    keepAlive.paused(2 * second)
    keepAlive.paused(10 * second)
    keepAlive.resumed(12 * second)
    keepAlive.resumed(12 * second)
    keepAlive.spoke(40 * second)
    assert.equal(keepAlive.deadline, 42 * second)
  })
})

spec('a process that was frozen', (it) => {
  it('does not end its link after any time: received bytes are read first', () => {
    for (let frozen = 0; frozen < 300; frozen++) {
      const keepAlive = started()
      keepAlive.heard(15 * second)
      // Frozen from second 16 on. The alarm rings before anything is read, and the peer has said something.
      const awake = (16 + frozen) * second
      assert.equal(keepAlive.dead(awake), undefined, `after ${frozen} s`)
      keepAlive.heard(awake + 100)
      assert.equal(keepAlive.dead(awake + 100), undefined)
    }
  })

  it('does not end its link because of a full socket', () => {
    const keepAlive = started()
    keepAlive.full(0)
    assert.equal(keepAlive.dead(40 * second), undefined)
    keepAlive.drained()
    keepAlive.heard(40 * second)
    assert.equal(keepAlive.dead(60 * second), undefined)
  })

  it('has at least an interval to catch up if the alarm rang much too late', () => {
    const keepAlive = started()
    keepAlive.begun(0, second)
    assert.equal(keepAlive.dead(100 * second), undefined)
    assert.equal(keepAlive.dead(115 * second), undefined)
    assert.equal(keepAlive.dead(116 * second)?.code, 'timed-out')
  })

  it('still detects a dead peer, although all alarms ring late', () => {
    const keepAlive = started()
    let [now, rings] = [0, 0]
    while (!keepAlive.dead(now)) {
      keepAlive.spoke(now)
      now = keepAlive.deadline + 5 * second
      assert.ok(++rings < 10)
    }
    assert.ok(now < 60 * second)
  })
})

spec('a full socket', (it) => {
  it('ends the link shortly after two intervals without sent bytes, whatever arrives', () => {
    const keepAlive = started()
    keepAlive.full(10 * second)
    const full = death(keepAlive, hour, (now) => {
      keepAlive.heard(now)
      keepAlive.full(now)
    })
    assert.deepEqual(full, [44, 'slow-consumer'])
  })

  it('has no effect if it has drained, or sends bytes now and then', () => {
    const keepAlive = started()
    const now = death(keepAlive, hour, (at) => {
      keepAlive.heard(at)
      keepAlive.full(at)
      if (at % (30 * second) === 0) keepAlive.took(at)
      if (at > hour / 2) keepAlive.drained()
    })
    assert.deepEqual(now, alive)
  })

  it('does not become full by sent bytes', () => {
    const keepAlive = started()
    keepAlive.took(0)
    keepAlive.spoke(30 * second)
    keepAlive.heard(30 * second)
    assert.equal(keepAlive.deadline, 46 * second)
  })
})
