import assert from 'node:assert/strict'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { WritePriority } from '../../../lib/adapters/disk/writePriority.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { message, roomy } from '../../../lib/testing/storage/mailSteps.ts'
import { claimed, hello } from '../../../lib/testing/storage/steps.ts'
import { hasResolved } from '../../support/hasResolved.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'
import { withData } from './data.ts'

/** A clock that goes on by itself whenever it is looked at. */
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
  /** An append that takes so long. */
  const append = async (ms: number) => {
    const { end, done } = hold()
    clock.pass(ms)
    end()
    await done
  }
  /** An append that takes until it is ended. */
  const hold = () => {
    const work = deferred<void>()
    return { end: work.resolve, done: first.append(() => work.promise) }
  }
  return { clock, first, append, hold }
}

spec('uploads beside messages on one disk', (it) => {
  it('begin at once during no append', async () => {
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

  it('rest after an append that was slow, twice what it took longer than usual', async () => {
    const { clock, first, append } = begun()
    await append(1)
    await append(21)
    // 20 ms longer, of which a hundredth is usual from now on.
    const turn = first.ready()
    clock.pass(39)
    assert.equal(await hasResolved(turn), false)
    clock.pass(1)
    await turn
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('wait for one that is under way when their rest is over', async () => {
    const { clock, first, append, hold } = begun()
    await append(1)
    await append(21)
    const turn = first.ready()
    const { end, done } = hold()
    clock.pass(40)
    assert.equal(await hasResolved(turn), false)
    end()
    await done
    // It was slow as well: the rest begins anew.
    assert.equal(await hasResolved(turn), false)
    clock.pass(80)
    await turn
  })

  it('wait 250 ms at most, however long an append takes', async () => {
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

  it('rest 250 ms at most after one that took a minute', async () => {
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

  it('do not rest on a disk where every append takes as long', async () => {
    const { first, append } = begun()
    await append(30)
    assert.equal(await hasResolved(first.ready()), true)
    await append(33)
    assert.equal(await hasResolved(first.ready()), true)
  })

  it('rest no more when what was slow has become usual', async () => {
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
    assert.equal(clock.set.length, 2)
    clock.pass(20)
    await turn
    assert.deepEqual(clock.set, [])
  })

  it(
    'rest in a data directory whose messages take long',
    withData(async (data) => {
      const clock = new SlowClock()
      await using storage = disk(data)
      await storage.open({ ...nodePlatform(), clock })
      const { claim } = await claimed(storage)
      await using file = await storage.files.open(claim)
      let id = 0
      for (const work of [() => file.write(0, [hello]), () => file.flush()]) {
        await storage.mailboxes.append(message(++id), ['bob'], roomy)
        clock.stepMs = 30
        await storage.mailboxes.append(message(++id), ['bob'], roomy)
        clock.stepMs = 0
        const done = work()
        while (clock.set.length === 0) await turn()
        clock.pass(250)
        await done
      }
    }),
  )
})
