import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { fixed } from '../../../lib/limits.ts'
import { LocalLinks, SupersededSessions } from '../../../lib/server/connections/localLinks.ts'
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

spec('the links of one server', (it) => {
  const link = (node: number, session = 'one', user = 'alice') => ({ user, session, node })
  const listener = (node: number, session = 'one', epoch = node) => ({ ...link(node, session), epoch })

  /** Resolves with links that report their events as words. */
  async function watched(lastSeq = 0) {
    const links = new LocalLinks()
    const ends: string[] = []
    const none = () => assert.fail('there is no other server')
    links.watch({
      here: none,
      gone: none,
      ended: (...end) => ends.push(end.join(' ')),
      serverLost: none,
      declaredDead: none,
    })
    await links.open(nodePlatform(), { lastSeq: async () => lastSeq })
    return { links, ends }
  }

  it('have rising numbers', async () => {
    const { links } = await watched()
    assert.deepEqual([links.nextNode(), links.nextNode(), links.nextNode()], [1, 2, 3])
  })

  it('are limited to one of each session: a later link ends the earlier one before it is open', async () => {
    const { links, ends } = await watched()
    await links.openSession(link(1), 0)
    await links.openSession(link(1), 0)
    await links.openSession(link(2, 'two'), 0)
    await links.openSession(link(3, 'one', 'bob'), 0)
    assert.deepEqual(ends, [])
    const opened = links.openSession(link(4), 0)
    assert.deepEqual(ends, ['1 link-replaced 4'])
    await opened
  })

  it('of one session are refused after a link with a higher attempt, until that link ends', async () => {
    const { links, ends } = await watched()
    await links.openSession(link(1), 5)
    await assert.rejects(links.openSession(link(2), 4), { code: 'link-replaced' })
    links.closeSession(link(2))
    await assert.rejects(links.openSession(link(3), 4), { code: 'link-replaced' })
    links.closeSession(link(1))
    await links.openSession(link(4), 4)
    assert.deepEqual(ends, [])
  })

  it('listen one at a time for each user: the session of the earlier one is superseded', async () => {
    const { links, ends } = await watched(7)
    assert.deepEqual(await links.listen(listener(1)), { handed: 7 })
    await links.listen(listener(2, 'two'))
    assert.deepEqual(ends, ['1 superseded 2'])
    await assert.rejects(links.listen(listener(3)), { code: 'superseded' })
    await links.unlisten(listener(2, 'two'), 0)
    await assert.rejects(links.listen(listener(3)), { code: 'superseded' })
    await links.listen(listener(4, 'two'))
  })

  it('can listen again on another link of the same session, which is not superseded', async () => {
    const { links, ends } = await watched()
    await links.listen(listener(1))
    await links.listen(listener(2))
    assert.deepEqual(ends, ['1 superseded 2'])
    await links.listen(listener(3))
  })

  it('do not end a newer registration when an older one ends late', async () => {
    const { links, ends } = await watched()
    await links.listen(listener(1, 'one', 1))
    await links.listen(listener(1, 'one', 2))
    await links.unlisten(listener(1, 'one', 1), 0)
    await links.listen(listener(2, 'two', 3))
    assert.deepEqual(ends, ['1 superseded 2'])
  })

  it('include no links of other servers', async () => {
    const { links } = await watched()
    await links.listen(listener(1))
    assert.deepEqual([...links.others()], [])
  })
})
