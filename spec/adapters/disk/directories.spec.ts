import assert from 'node:assert/strict'
import { DirectoryFlushes } from '../../../lib/adapters/disk/directories.ts'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import { hasResolved } from '../../support/hasResolved.ts'
import { spec } from '../../support/spec.ts'

const turn = () => new Promise((go) => setImmediate(go))

/** Returns flushes that the spec ends. */
function held() {
  const begun: { readonly path: string; readonly end: Deferred<void> }[] = []
  const flushes = new DirectoryFlushes((path) => {
    const end = deferred<void>()
    begun.push({ path, end })
    return end.promise
  })
  return { flushes, begun }
}

spec('flushes of a directory', (it) => {
  it('requested during a flush share the next one', async () => {
    const { flushes, begun } = held()
    const first = flushes.flush('a')
    await turn()
    const later = [flushes.flush('a'), flushes.flush('a'), flushes.flush('a')]
    await turn()
    assert.equal(begun.length, 1)
    begun[0]?.end.resolve()
    await first
    assert.deepEqual(await Promise.all(later.map(hasResolved)), [false, false, false])
    assert.equal(begun.length, 2)
    const last = flushes.flush('a')
    await turn()
    begun[1]?.end.resolve()
    await Promise.all(later)
    assert.equal(await hasResolved(last), false)
    assert.equal(begun.length, 3)
    begun[2]?.end.resolve()
    await last
  })

  it('do not wait for a flush of another directory', async () => {
    const { flushes, begun } = held()
    void flushes.flush('a')
    const other = flushes.flush('b')
    await turn()
    assert.deepEqual(
      begun.map(({ path }) => path),
      ['a', 'b'],
    )
    begun[1]?.end.resolve()
    await other
  })

  it('fail with the flush that they wait for; the next call tries again', async () => {
    const { flushes, begun } = held()
    const first = flushes.flush('a')
    await turn()
    const both = [first, flushes.flush('a')]
    const fault = new Error('EIO')
    begun[0]?.end.reject(fault)
    for (const flush of both) await assert.rejects(flush, fault)
    assert.equal(begun.length, 1)
    const again = flushes.flush('a')
    await turn()
    begun[1]?.end.resolve()
    await again
  })
})
