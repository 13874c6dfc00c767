import assert from 'node:assert/strict'
import { fixed } from '../../../lib/limits.ts'
import { SupersededSessions } from '../../../lib/server/connections/localLinks.ts'
import { spec } from '../../support/spec.ts'

spec('superseded sessions', (it) => {
  it('are remembered for each user, up to a limit: the latest ones', () => {
    const superseded = new SupersededSessions()
    for (let n = 0; n <= fixed.supersededSessions; n++) superseded.add('alice', `${n}`)
    assert.deepEqual([superseded.has('alice', '0'), superseded.has('alice', '1')], [false, true])
    assert.ok(superseded.has('alice', `${fixed.supersededSessions}`))
  })

  it('are remembered for a limited number of users: a new user replaces the one whose session was superseded longest ago', () => {
    const superseded = new SupersededSessions()
    for (let n = 0; n <= fixed.rememberedUsers; n++) superseded.add(`user-${n}`, 'session')
    assert.deepEqual([superseded.has('user-0', 'session'), superseded.has('user-1', 'session')], [false, true])
    assert.ok(superseded.has(`user-${fixed.rememberedUsers}`, 'session'))
  })
})
