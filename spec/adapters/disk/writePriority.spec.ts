import assert from 'node:assert/strict'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { WritePriority } from '../../../lib/adapters/disk/writePriority.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { append, message, roomy } from '../../../lib/testing/storage/mailSteps.ts'
import { claimed, hello } from '../../../lib/testing/storage/steps.ts'
import { hasResolved } from '../../support/hasResolved.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'
import { withData } from './data.ts'

/** A clock that advances at each reading. */
class SlowClock extends VirtualClock {
  stepMs = 0

  override now(): number {
    if (this.stepMs > 0) this.freeze(this.stepMs)
    return super.now()
  }
}

function begun() {
  const clock = new VirtualClock()
  const first = new WritePriority(clock)
  /** Appends for this time. */
  const append = async (ms: number) => {
    const { end, done } = hold()
    clock.pass(ms)
    end()
    await done
  }
  /** Begins an append, which lasts until it is ended. */
  const hold = () => {
    const work = deferred<void>()
    return { end: work.resolve, done: first.append(() => work.promise) }
  }
  return { clock, first, append, hold }
}

spec('uploads beside messages on one disk', (it) => {
  it('begin at once if no append is under way', async () => {
    const { first, append } = begun()
    assert.equal(await hasResolved(first.ready()), true)
    await append(1)
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('wait for the end of an append that is under way', async () => {
    const { first, hold } = begun()
    const { end, done } = hold()
    const turns = [first.ready(), first.ready()]
    assert.deepEqual(await Promise.all(turns.map(hasResolved)), [false, false])
    end()
    await Promise.all([done, ...turns])
  })

  it('pause after a slow append, for twice the time by which it exceeded the usual one', async () => {
    const { clock, first, append } = begun()
    await append(1)
    await append(21)
    // 20 ms longer; a hundredth of that is added to the usual time.
    const turn = first.ready()
    clock.pass(39)
    assert.equal(await hasResolved(turn), false)
    clock.pass(1)
    await turn
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('wait for an append that is under way when their pause is over', async () => {
    const { clock, first, append, hold } = begun()
    await append(1)
    await append(21)
    const turn = first.ready()
    const { end, done } = hold()
    clock.pass(40)
    assert.equal(await hasResolved(turn), false)
    end()
    await done
    // This append was slow too, so another pause begins.
    assert.equal(await hasResolved(turn), false)
    clock.pass(80)
    await turn
  })

  it('wait at most 250 ms for an append', async () => {
    const { clock, first, hold } = begun()
    const { end, done } = hold()
    const turn = first.ready()
    clock.pass(100)
    const later = first.ready()
    clock.pass(149)
    assert.deepEqual(await Promise.all([turn, later].map(hasResolved)), [false, false])
    clock.pass(1)
    await Promise.all([turn, later])
    end()
    await done
  })

  it('wait for no more than a fifth of the time, and 250 ms', async () => {
    const { clock, first, hold } = begun()
    const { end, done } = hold()
    let [passedMs, waitedMs] = [0, 0]
    while (passedMs < 10_000) {
      const turn = first.ready()
      for (; !(await hasResolved(turn)); waitedMs++, passedMs++) clock.pass(1)
      // The upload has nothing to write meanwhile.
      clock.pass(100)
      passedMs += 100
    }
    assert.ok(waitedMs > 1_900 && waitedMs < 2_350, `uploads waited for ${waitedMs} ms of ${passedMs}`)
    end()
    await done
  })

  it('pause at most 250 ms after an append of a minute', async () => {
    const { clock, first, append } = begun()
    await append(1)
    await append(60_000)
    const turn = first.ready()
    clock.pass(249)
    assert.equal(await hasResolved(turn), false)
    clock.pass(1)
    await turn
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('do not pause on a disk on which every append takes the same time', async () => {
    const { first, append } = begun()
    await append(30)
    assert.equal(await hasResolved(first.ready()), true)
    await append(33)
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('do not pause after slow appends have become usual', async () => {
    const { clock, first, append } = begun()
    await append(1)
    for (let n = 0; n < 300; n++) await append(30)
    clock.pass(250)
    await append(30)
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('begin after a failed append', async () => {
    const { first } = begun()
    await assert.rejects(
      first.append(() => Promise.reject(new Error('EIO'))),
      /EIO/u,
    )
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('leave no alarm set', async () => {
    const { clock, first, append } = begun()
    await append(1)
    await append(11)
    const turn = first.ready()
    assert.equal(clock.set.length, 1)
    clock.pass(20)
    await turn
    assert.deepEqual(clock.set, [])
  })

  it(
    'pause in a data directory with slow appends of messages',
    withData(async (data) => {
      const clock = new SlowClock()
      await using storage = disk(data)
      await storage.open({ ...nodePlatform(), clock })
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      let id = 0
      for (const work of [() => file.write(0, [hello]), () => file.flush()]) {
        await append(storage.mailboxes, message(++id), ['bob'], roomy)
        clock.stepMs = 30
        await append(storage.mailboxes, message(++id), ['bob'], roomy)
        clock.stepMs = 0
        const done = work()
        while (clock.set.length === 0) await turn()
        clock.pass(250)
        await done
      }
    }),
  )
})
