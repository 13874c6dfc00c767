import assert from 'node:assert/strict'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { NameLocks } from '../../../lib/storage/transfers/nameLocks.ts'
import { spec } from '../../support/spec.ts'

const turn = () => new Promise((go) => setImmediate(go))

spec('works about names', (it) => {
  it('go at once where the names do not collide, or are of another user', async () => {
    const turns = new NameLocks()
    const held = deferred<void>()
    const first = turns.run(
      'alice',
      'a',
      () => true,
      () => held.promise,
    )
    await turns.run(
      'alice',
      'b',
      () => false,
      async () => {},
    )
    await turns.run(
      'bob',
      'a',
      () => true,
      async () => {},
    )
    held.resolve()
    await first
  })

  it('go one after another where they do, also behind one that fails', async () => {
    const turns = new NameLocks()
    const log: string[] = []
    const held = deferred<void>()
    const collides = (other: string) => other.startsWith('a')
    const first = turns.run('alice', 'a', collides, async () => {
      await held.promise
      log.push('a')
      throw new Error('disk full')
    })
    const second = turns.run('alice', 'a/b', collides, async () => log.push('a/b'))
    const third = turns.run('alice', 'a/b/c', collides, async () => log.push('a/b/c'))
    await turn()
    assert.deepEqual(log, [])
    held.resolve()
    await assert.rejects(first, /disk full/u)
    await Promise.all([second, third])
    assert.deepEqual(log, ['a', 'a/b', 'a/b/c'])
  })
})
