import assert from 'node:assert/strict'
import { OspError } from '../../../lib/errors.ts'
import { heldRig, MessageClient, words } from '../../support/messageClient.ts'
import { OtherServers } from '../../support/otherServers.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { enter, listen } = MessageClient
/** Flags of REGIST_REQ. */
const [silent, listening] = [0, 1]
/** The number of a link at another server. */
const far = 1_000

async function linkedRig(limits: Parameters<typeof heldRig>[0] = {}) {
  const links = new OtherServers()
  const rig = await heldRig(limits, { links })
  return Object.assign(rig, { links })
}

const online = ({ server }: Awaited<ReturnType<typeof linkedRig>>) =>
  server.status().online.map(({ node, user }) => `${user} ${node}`)

spec('a registration that waits for the directory of links', (it) => {
  it('is acknowledged and listed when the directory has recorded it', async () => {
    await using rig = await linkedRig()
    const alice = await enter(rig)
    rig.links.isHeld = true
    alice.sendRegist()
    await turn()
    assert.deepEqual([alice.unread, online(rig), rig.links.waiting], [[], [], 1])
    await rig.links.go()
    const { listVersion } = await alice.raw.expect('RegistAck')
    const list = await alice.raw.expect('RegistListNtf')
    assert.deepEqual([words(list), list.listVersion], [['+alice'], listVersion])
  })

  it('ends in the directory if its link ends meanwhile, and leaves no member in the list', async () => {
    await using rig = await linkedRig()
    const alice = await enter(rig)
    rig.links.isHeld = true
    alice.sendRegist()
    await turn()
    await alice.vanish()
    await rig.links.go()
    assert.deepEqual(rig.links.calls, [`listen ${alice.node}`, `unlisten ${alice.node} 0`])
    assert.deepEqual([online(rig), rig.server.status().links], [[], 0])
  })

  it('does not use up an instance or a place of its user if its link ends meanwhile', async () => {
    await using rig = await linkedRig({ clients: 1, registrationsPerUser: 1 })
    for (let times = 0; times < 3; times++) {
      const alice = await enter(rig, 'alice', { session: `${times}` })
      rig.links.isHeld = true
      alice.sendRegist()
      await turn()
      await alice.vanish()
      await rig.links.go()
    }
    await listen(rig, 'alice')
  })

  it('is changed by the next REGIST of the link only after that', async () => {
    await using rig = await linkedRig()
    const alice = await enter(rig)
    rig.links.isHeld = true
    alice.sendRegist(listening)
    alice.sendRegist(silent)
    alice.sendRegist(listening)
    await turn()
    assert.equal(rig.links.waiting, 1)
    await rig.links.go()
    const listed: string[][] = []
    for (let replies = 0; replies < 3; replies++) {
      await alice.raw.expect('RegistAck')
      listed.push(words(await alice.raw.expect('RegistListNtf')))
    }
    assert.deepEqual(listed, [['+alice'], [], ['+alice']])
    const { node } = alice
    assert.deepEqual(rig.links.calls, [`listen ${node}`, `unlisten ${node} 0`, `listen ${node}`])
  })

  it('gets no changes of the list before its reply', async () => {
    await using rig = await linkedRig()
    await listen(rig, 'alice', { session: 'one' })
    const second = await enter(rig, 'alice', { session: 'two' })
    rig.links.isHeld = true
    second.sendRegist()
    await turn()
    rig.links.events.here({ user: 'bob', node: far })
    await pass(rig.clock, 1_000)
    assert.deepEqual(second.raw.unread, [])
    await rig.links.go()
    await second.raw.expect('RegistAck')
    assert.deepEqual(words(await second.raw.expect('RegistListNtf')), ['+bob', '+alice'])
  })

  it('is refused if the directory refuses it, and can be repeated', async () => {
    await using rig = await linkedRig()
    const alice = await enter(rig)
    rig.links.fault = new OspError('clients-full')
    await alice.registRefused('clients-full')
    await alice.regist()
    assert.deepEqual(online(rig), [`alice ${alice.node}`])
  })

  it('is refused as clients-full if another link takes the last instance meanwhile, and ends in the directory', async () => {
    await using rig = await linkedRig({ clients: 1 })
    const [alice, bob] = [await enter(rig, 'alice'), await enter(rig, 'bob')]
    rig.links.isHeld = true
    alice.sendRegist()
    await turn()
    await bob.regist(silent)
    await rig.links.go()
    await alice.raw.refused('RegistNack', 'clients-full')
    assert.deepEqual(rig.links.calls, [`listen ${alice.node}`, `unlisten ${alice.node} 0`])
    assert.deepEqual(online(rig), [])
  })

  it('ends with the server', async () => {
    const rig = await linkedRig()
    const alice = await listen(rig, 'alice')
    await rig[Symbol.asyncDispose]()
    assert.deepEqual(rig.links.calls, [`listen ${alice.node}`, `unlisten ${alice.node} 0`])
  })
})

spec('a registration at another server', (it) => {
  it('ends the link that listens here as superseded', async () => {
    await using rig = await linkedRig()
    const alice = await listen(rig, 'alice')
    rig.links.events.ended(alice.node, 'superseded', far)
    await alice.raw.dismissed('superseded')
    assert.deepEqual(online(rig), [])
    assert.deepEqual(
      rig.log.filter(({ event }) => event === 'registration-superseded').map(({ node, former }) => [node, former]),
      [[far, alice.node]],
    )
  })

  it('ends a link whose own registration still waits', async () => {
    await using rig = await linkedRig()
    const alice = await enter(rig)
    rig.links.isHeld = true
    alice.sendRegist()
    await turn()
    rig.links.events.ended(alice.node, 'superseded', far)
    await alice.raw.dismissed('superseded')
    await rig.links.go()
    assert.deepEqual([online(rig), rig.links.calls.length], [[], 2])
  })

  it('does not end a registration that does not listen', async () => {
    await using rig = await linkedRig()
    const alice = await listen(rig, 'alice')
    await alice.regist(silent)
    rig.links.events.ended(alice.node, 'superseded', far)
    assert.equal((await alice.regist(silent)).ack.instance, alice.instance)
  })

  it('may have sent messages: they are delivered here with attempt 2, and later ones with attempt 1', async () => {
    await using rig = await linkedRig()
    const bob = await listen(rig, 'bob')
    await bob.post(1, ['alice'], 'one')
    await bob.post(2, ['alice'], 'two')
    rig.links.handed = 1
    const alice = await listen(rig, 'alice')
    const attempts = (await alice.deliveries(2)).map(({ mailboxSeq, attempt }) => [mailboxSeq, attempt])
    assert.deepEqual(attempts, [
      [1, 2],
      [2, 1],
    ])
  })

  it('learns up to which message this one has sent them', async () => {
    await using rig = await linkedRig()
    const bob = await listen(rig, 'bob')
    const alice = await listen(rig, 'alice')
    await bob.post(1, ['alice'], 'one')
    await alice.take(await alice.delivery())
    await bob.post(2, ['alice'], 'two')
    await alice.delivery()
    await alice.vanish()
    assert.ok(rig.links.calls.includes(`unlisten ${alice.node} 2`), rig.links.calls.join())
  })

  it('is listed, counts as online, and leaves the list', async () => {
    await using rig = await linkedRig()
    const bob = await listen(rig, 'bob')
    rig.links.events.here({ user: 'alice', node: far })
    assert.deepEqual(await bob.post(1, ['alice'], 'hello'), ['alice online'])
    assert.deepEqual(words(await bob.list()), ['+bob', '+alice'])
    rig.links.events.gone({ user: 'alice', node: far })
    assert.deepEqual(await bob.post(2, ['alice'], 'hello'), ['alice stored'])
    assert.deepEqual(words(await bob.list()), ['+bob'])
  })

  it('replaces that of the same user in the list, and is replaced by a link that remains when it ends', async () => {
    await using rig = await linkedRig()
    const watcher = await enter(rig, 'bob')
    await watcher.regist(silent)
    const alice = await listen(rig, 'alice')
    rig.links.events.here({ user: 'alice', node: far })
    assert.deepEqual(online(rig), [`alice ${far}`])
    rig.links.events.gone({ user: 'alice', node: far })
    assert.deepEqual(online(rig), [`alice ${alice.node}`])
    rig.links.events.here({ user: 'alice', node: far + 1 })
    await alice.vanish()
    assert.deepEqual(online(rig), [`alice ${far + 1}`])
    await pass(rig.clock, 1_000)
    const changes: string[] = []
    while (watcher.raw.unread.length > 0) changes.push(...words(await watcher.raw.expect('RegistListNtf')))
    assert.deepEqual(changes, ['+alice', '-alice', '+alice', '-alice', '+alice', '-alice', '+alice'])
  })

  it('that exists before this server starts is in the first list', async () => {
    const links = new OtherServers()
    links.members = [{ user: 'carol', node: far }]
    await using rig = await heldRig({}, { links })
    const { list } = await (await enter(rig)).regist(silent)
    assert.deepEqual(words(list), ['+carol'])
  })
})

spec('the directory of links', (it) => {
  it('ends a link whose session has opened another link at another server', async () => {
    await using rig = await linkedRig()
    const alice = await listen(rig, 'alice')
    rig.links.events.ended(alice.node, 'link-replaced', far)
    await alice.raw.dismissed('link-replaced')
    assert.deepEqual(online(rig), [])
  })

  it('records the session before HELLO is answered', async () => {
    await using rig = await linkedRig()
    rig.links.isHeld = true
    const raw = await rig.dial()
    raw.hello({})
    await turn()
    assert.deepEqual([raw.unread, rig.links.waiting], [[], 1])
    await rig.links.go()
    await raw.expect('HelloAck')
  })

  it('reports that this server was declared dead: it ends every link, and accepts new ones', async () => {
    await using rig = await linkedRig()
    const alice = await listen(rig, 'alice')
    rig.links.events.declaredDead()
    const { text } = await alice.raw.dismissed('shutting-down')
    assert.equal(text, 'the server has lost its lease in the database of the cluster')
    await listen(rig, 'alice')
  })
})
