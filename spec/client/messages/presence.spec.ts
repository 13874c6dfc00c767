import assert from 'node:assert/strict'
import type { Client } from '../../../lib/client/client.ts'
import { fixed } from '../../../lib/limits.ts'
import type { WireMessage } from '../../../lib/wire/message.ts'
import { listOf, nodeOf, type ScriptedLink, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'

/** Records the events of a client's presence: `+bob`, `-bob`, and `=` with the size of a whole list. */
function record(client: Client): string[] {
  const words: string[] = []
  client.presence.on('change', ({ user }, change) => words.push(`${change === 'here' ? '+' : '-'}${user}`))
  client.presence.on('whole', (members) => words.push(`=${members.length}`))
  return words
}

const users = (client: Client) => [...client.presence].map(({ user }) => user)

/** Answers the next LIST_REQ. */
async function answerList(link: ScriptedLink, version: number, words: readonly string[]): Promise<void> {
  link.reply(await link.expect('ListReq'), { event: 'ListAck', ...listOf(version, words) })
}

/** A client that has this list at version 5. */
async function listed(words: readonly string[] = [], reliable = true) {
  const server = new ScriptedServer({ reliable })
  const client = server.client()
  const said = record(client)
  const ready = client.presence.ready()
  const link = await server.registered(0, { version: 5, list: [...words] })
  await ready
  return { server, client, said, link, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

spec('the presence list', (it) => {
  it('is complete at first', async () => {
    await using rig = await listed(['+bob', '+carol'])
    const { presence } = rig.client
    assert.deepEqual(
      [...presence],
      [
        { node: nodeOf('bob'), user: 'bob' },
        { node: nodeOf('carol'), user: 'carol' },
      ],
    )
    assert.deepEqual([presence.version, presence.size, presence.has('bob'), presence.has('dave')], [5, 2, true, false])
    assert.deepEqual(rig.said, ['+bob', '+carol', '=2'])
  })

  it('follows the changes, and skips known ones', async () => {
    await using rig = await listed(['+bob'])
    rig.link.list(7, ['+carol', '-bob'], 'changes')
    assert.deepEqual([users(rig.client), rig.client.presence.version], [['carol'], 7])
    rig.link.list(8, ['+carol', '-bob', '+dave'], 'changes')
    rig.link.list(7, ['+carol', '-bob'], 'changes')
    assert.deepEqual([users(rig.client), rig.client.presence.version], [['carol', 'dave'], 8])
    assert.deepEqual(rig.said, ['+bob', '=1', '+carol', '-bob', '+dave'])
  })

  it('is requested as a whole if a change is missing, one request at a time', async () => {
    await using rig = await listed(['+bob'])
    rig.link.list(7, ['+dave'], 'changes')
    rig.link.list(9, ['+erin'], 'changes')
    const asked = await rig.link.expect('ListReq')
    await rig.link.quiet()
    assert.deepEqual(users(rig.client), ['bob'])
    rig.link.reply(asked, { event: 'ListAck', ...listOf(9, ['+carol', '+dave', '+erin']) })
    await rig.link.quiet()
    assert.deepEqual(users(rig.client), ['carol', 'dave', 'erin'])
    assert.deepEqual(rig.said.slice(2), ['-bob', '+carol', '+dave', '+erin', '=3'])
  })

  it('is requested again if the answer is older than changes that arrived meanwhile, as long as it advances', async () => {
    await using rig = await listed(['+bob'])
    rig.link.list(7, ['+dave'], 'changes')
    const asked = await rig.link.expect('ListReq')
    rig.link.list(9, ['+erin'], 'changes')
    rig.link.reply(asked, { event: 'ListAck', ...listOf(8, ['+bob', '+dave']) })
    await answerList(rig.link, 8, ['+bob', '+dave'])
    await rig.link.quiet()
  })

  it('is requested if a ping is answered with a later version', async () => {
    await using rig = await listed(['+bob'])
    const { keepAlive } = rig.server.welcome
    for (const [listVersion, words] of [
      [5, undefined],
      [6, ['+carol']],
    ] as const) {
      await rig.server.pass(keepAlive)
      rig.link.reply(await rig.link.expect('PingReq'), { event: 'PingAck', listVersion })
      if (words) await answerList(rig.link, listVersion, words)
      await rig.link.quiet()
    }
    assert.deepEqual(users(rig.client), ['carol'])
  })

  it('is requested if the list after REGIST_ACK was lost', async () => {
    await using server = new ScriptedServer({ reliable: false })
    const client = server.client()
    const ready = client.presence.ready()
    const link = await server.link()
    link.reply(await link.expect('RegistReq'), { event: 'RegistAck', instance: 1, listVersion: 0, deliveryWindow: 1 })
    await answerList(link, 0, [])
    await ready
  })

  it('stays unchanged without a link, and is replaced on the next one, whatever its version', async () => {
    await using rig = await listed(['+bob', '+carol'])
    rig.link.break()
    assert.deepEqual(users(rig.client), ['bob', 'carol'])
    await rig.server.registered(0, { version: 2, list: ['+carol', '+dave'] })
    assert.deepEqual(rig.said.slice(3), ['-bob', '+dave', '=2'])
    assert.equal(rig.client.presence.version, 2)
  })

  it('ignores an older list on the same link', async () => {
    await using rig = await listed(['+bob'], false)
    rig.link.list(4, ['+carol'])
    assert.deepEqual(users(rig.client), ['bob'])
  })

  it('has a user as long as one link of that user is listed', async () => {
    await using rig = await listed(['+bob'])
    const second = { change: 1, node: 9, userName: 'bob' }
    rig.link.say({ event: 'RegistListNtf', listVersion: 6, kind: 1, members: [second] })
    rig.link.list(7, ['-bob'], 'changes')
    assert.deepEqual([rig.client.presence.has('bob'), rig.client.presence.size], [true, 1])
    rig.link.say({ event: 'RegistListNtf', listVersion: 8, kind: 1, members: [{ ...second, change: 0 }] })
    assert.deepEqual([rig.client.presence.has('bob'), rig.client.presence.size], [false, 0])
  })

  it('is not affected by a listener that throws', async () => {
    await using rig = await listed(['+bob'])
    rig.client.presence.once('change', () => {
      throw new Error('a listener has a bug')
    })
    rig.link.list(7, ['+carol', '+dave'], 'changes')
    assert.equal(rig.server.log.filter(({ event }) => event === 'listener-failed').length, 1)
    assert.deepEqual(users(rig.client), ['bob', 'carol', 'dave'])
  })

  it('is rejected if the server permanently refuses the client', async () => {
    await using server = new ScriptedServer()
    const client = server.client()
    const rejected = assert.rejects(client.presence.ready(), { code: 'superseded' })
    const link = await server.link()
    link.goodbye('superseded')
    await rejected
  })
})

spec('an invalid presence list', (it) => {
  type List = Omit<WireMessage<'RegistListNtf'>, 'event'>
  const member = { change: 1, node: 1, userName: 'bob' }
  const crowd = Array.from({ length: fixed.clientsMost + 1 }, (_, node) => ({ change: 1, node, userName: `u${node}` }))
  const wrong: readonly [string, List][] = [
    ['of an unknown kind', { listVersion: 6, kind: 2, members: [] }],
    ['with an unknown change', { listVersion: 6, kind: 1, members: [{ ...member, change: 2 }] }],
    ['whole with a member as gone', { listVersion: 6, kind: 0, members: [{ ...member, change: 0 }] }],
    ['with a link twice', { listVersion: 6, kind: 0, members: [member, member] }],
    ['with a name that cannot be', { listVersion: 6, kind: 0, members: [{ ...member, userName: 'b\u001b[2J' }] }],
    ['with more changes than its version counts', { listVersion: 1, kind: 1, members: [member, member] }],
    ['of more than there can be', { listVersion: 6, kind: 0, members: crowd }],
    ['of changes that make it more', { listVersion: 5 + crowd.length, kind: 1, members: crowd }],
  ]
  for (const [what, list] of wrong) {
    it(`${what}, ends the link`, async () => {
      await using rig = await listed([])
      rig.link.say({ event: 'RegistListNtf', ...list })
      await rig.link.dismissed('malformed')
    })
  }

  it('with changes in the answer to a request for the whole list ends the link', async () => {
    await using rig = await listed([])
    rig.link.list(9, ['+bob'], 'changes')
    const asked = await rig.link.expect('ListReq')
    rig.link.reply(asked, { event: 'ListAck', ...listOf(6, ['+bob'], 'changes') })
    await rig.link.dismissed('malformed')
  })
})
