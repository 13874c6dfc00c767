import assert from 'node:assert/strict'
import { FilesCheck } from '../../../lib/adapters/cluster/filesCheck.ts'
import { OspError } from '../../../lib/errors.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

/** A check of a directory whose results the test decides. */
function checked() {
  const clock = new VirtualClock()
  const closing = new AbortController()
  const pending: { readonly resolve: () => void; readonly reject: (error: OspError) => void }[] = []
  const check = () => new Promise<void>((resolve, reject) => pending.push({ resolve, reject }))
  const filesCheck = new FilesCheck(check, clock, closing.signal)
  return { clock, closing, pending, filesCheck }
}

spec('the check of a shared directory', (it) => {
  it('reports a directory that has not responded for 5 s, until it responds', async () => {
    const { clock, pending, filesCheck } = checked()
    await pass(clock, 5_000)
    assert.equal(filesCheck.problem, undefined)
    await pass(clock, 3_000)
    assert.equal(filesCheck.problem, 'the shared directory has not responded for 8 s')
    assert.equal(pending.length, 1)
    pending[0]?.resolve()
    await pass(clock, 0)
    assert.equal(filesCheck.problem, undefined)
  })

  it('is repeated, and reports an error without its paths until a check succeeds', async () => {
    const { clock, pending, filesCheck } = checked()
    pending[0]?.reject(new OspError('internal', 'reading /mnt/a: I/O error'))
    await pass(clock, 0)
    assert.equal(filesCheck.problem, 'the shared directory cannot be read')
    await pass(clock, 2_000)
    pending[1]?.reject(new OspError('data-format', '/mnt/a is not the directory of a cluster'))
    await pass(clock, 2_000)
    assert.equal(filesCheck.problem, 'the shared directory does not belong to the cluster')
    assert.equal(pending.length, 3)
    pending[2]?.resolve()
    await pass(clock, 0)
    assert.equal(filesCheck.problem, undefined)
  })

  it('ends when the server leaves', async () => {
    const { clock, closing, pending } = checked()
    pending[0]?.resolve()
    await pass(clock, 0)
    closing.abort()
    await pass(clock, 10_000)
    assert.deepEqual([pending.length, clock.set], [1, []])
  })
})
