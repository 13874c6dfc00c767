import assert from 'node:assert/strict'
import { WorkSlices } from '../../../lib/server/connections/workSlices.ts'
import { spec } from '../../support/spec.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

/** Requests of two and a half milliseconds each, and the order in which they begin. */
function work() {
  const clock = new VirtualClock()
  const slices = new WorkSlices(clock)
  const begun: number[] = []
  const begin = (number: number) => {
    const turn = slices.turn(2.5)
    if (turn) void turn.then(() => begun.push(number))
    else begun.push(number)
  }
  const pass = async (ms: number) => {
    clock.pass(ms)
    await undefined
    await undefined
  }
  return { clock, slices, begun, begin, pass }
}

spec('work in slices', (it) => {
  it('begins at once until a slice of five milliseconds is used up, and then waits for the next slices', async () => {
    const { begun, begin, pass } = work()
    for (const number of [1, 2, 3, 4, 5]) begin(number)
    assert.deepEqual(begun, [1, 2])
    await pass(1)
    assert.deepEqual(begun, [1, 2, 3, 4])
    await pass(1)
    assert.deepEqual(begun, [1, 2, 3, 4, 5])
  })

  it('keeps its order if more work arrives while some waits', async () => {
    const { begun, begin, pass } = work()
    for (const number of [1, 2, 3]) begin(number)
    await pass(1)
    for (const number of [4, 5]) begin(number)
    await pass(1)
    assert.deepEqual(begun, [1, 2, 3, 4, 5])
  })

  it('begins at once again after a pause, and sets no alarm without work', async () => {
    const { clock, begun, begin, pass } = work()
    for (const number of [1, 2]) begin(number)
    await pass(1)
    assert.deepEqual(clock.set, [])
    begin(3)
    assert.deepEqual(begun, [1, 2, 3])
  })

  it('that is longer than a slice is alone in it', async () => {
    const { slices, clock } = work()
    assert.equal(slices.turn(50), undefined)
    let isBegun = false
    void slices.turn(50)?.then(() => {
      isBegun = true
    })
    clock.pass(1)
    await undefined
    assert.ok(isBegun)
  })

  it('never begins after a stop', async () => {
    const { slices, begun, begin, pass } = work()
    for (const number of [1, 2, 3]) begin(number)
    slices.stop()
    await pass(1_000)
    assert.deepEqual(begun, [1, 2])
  })
})
