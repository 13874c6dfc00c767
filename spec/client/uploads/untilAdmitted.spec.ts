import assert from 'node:assert/strict'
import { untilAdmitted } from '../../../lib/client/uploads/untilAdmitted.ts'
import { Pacer } from '../../../lib/core/pacer.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { VirtualTime } from '../../simulation/time.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const { firstChunkBytes } = clientLimits

/** Waits for several chunks of one pacer at once. */
function waiting(pace = new Pacer()) {
  const time = new VirtualTime()
  const admitted: string[] = []
  const stopping = new AbortController()
  const add = async (name: string, signal = new AbortController().signal) => {
    try {
      await untilAdmitted(pace, time, firstChunkBytes, { signal })
      admitted.push(name)
    } catch (error) {
      admitted.push(`${name} ${(error as { code: string }).code}`)
    }
  }
  return { time, pace, admitted, add, stopping }
}

spec('a chunk that may not be sent yet', (it) => {
  it('waits for an acknowledgement, after the chunks before it', async () => {
    const { pace, admitted, add } = waiting()
    for (const name of ['a', 'b', 'c', 'd']) void add(name)
    await turn()
    assert.deepEqual(admitted, ['a', 'b'])
    pace.refused(firstChunkBytes, 10)
    await turn()
    assert.deepEqual(admitted, ['a', 'b', 'c'])
  })

  it('that is aborted counts as not sent, and lets the next one pass', async () => {
    const { pace, admitted, add, stopping } = waiting()
    void add('a')
    void add('b')
    void add('c', stopping.signal)
    void add('d')
    stopping.abort()
    await turn()
    pace.refused(firstChunkBytes, 10)
    await turn()
    assert.deepEqual(admitted, ['a', 'b', 'c closed', 'd'])
  })

  it('waits for the maximum rate, and ends with its signal meanwhile', async () => {
    const { time, admitted, add, stopping } = waiting(new Pacer(firstChunkBytes))
    void add('a')
    void add('b')
    void add('c', stopping.signal)
    await turn()
    assert.deepEqual(admitted, ['a'])
    time.step(1_000)
    await turn()
    stopping.abort()
    await turn()
    assert.deepEqual(admitted, ['a', 'b', 'c closed'])
  })
})
