import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { Superseded } from '../../../lib/server/messages/superseded.ts'
import { spec } from '../../support/spec.ts'

spec('superseded sessions', (it) => {
  it('are remembered as the latest of each user', () => {
    const superseded = new Superseded()
    for (let n = 0; n <= fixed.supersededSessions; n++) superseded.add('alice', `${n}`)
    assert.deepEqual([superseded.has('alice', '0'), superseded.has('alice', '1')], [false, true])
    assert.ok(superseded.has('alice', `${fixed.supersededSessions}`))
  })

  it('are remembered of so many users, of whom the longest known is forgotten for a new one', () => {
    const superseded = new Superseded()
    for (let n = 0; n <= fixed.rememberedUsers; n++) superseded.add(`user-${n}`, 'session')
    assert.deepEqual([superseded.has('user-0', 'session'), superseded.has('user-1', 'session')], [false, true])
    assert.ok(superseded.has(`user-${fixed.rememberedUsers}`, 'session'))
  })
})
