import assert from 'node:assert/strict'
import { RejectedConnections } from '../../../lib/server/connections/admission.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

/** A connection that is gone when the spec calls `go`, and what was done to it. */
function leaving() {
  const done: string[] = []
  let go = () => {}
  const gone = new Promise<void>((resolve) => {
    go = resolve
  })
  const close = () => {
    done.push('told')
    return gone
  }
  return { close, destroy: () => void done.push('destroyed'), done, go }
}

spec('rejected connections', (it) => {
  it('are closed without a word while too many others are being told why', async () => {
    const rejected = new RejectedConnections(2)
    const all = [leaving(), leaving(), leaving()] as const
    for (const connection of all) void rejected.add(connection)
    assert.deepEqual(
      all.map(({ done }) => done),
      [['told'], ['told'], ['destroyed']],
    )
    all[0].go()
    await turn()
    const next = leaving()
    void rejected.add(next)
    assert.deepEqual([next.done, rejected.size], [['told'], 2])
  })

  it('are not waited for when the server closes', () => {
    const rejected = new RejectedConnections(2)
    const connection = leaving()
    void rejected.add(connection)
    rejected.end()
    assert.deepEqual(connection.done, ['told', 'destroyed'])
  })
})
