import assert from 'node:assert/strict'
import fc from 'fast-check'
import { fixed } from '../../../lib/limits.ts'
import { type PresenceChanges, PresenceList } from '../../../lib/server/messages/presenceList.ts'
import { lengthOf } from '../../../lib/wire/codec.ts'
import { decode, type Encoded, type WireMessage } from '../../../lib/wire/message.ts'
import { apps, events, rosterChange, rosterKind } from '../../../lib/wire/protocol.ts'
import { heldRig, MessageClient, words } from '../../support/messageClient.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const { enter, listen } = MessageClient

type List = WireMessage<'RegistListNtf'>

const decoded = <K extends 'RegistListNtf' | 'ListAck'>({ event, payload }: Encoded<K>): WireMessage<K> =>
  decode({ event: events[event].number, app: apps.message, payload }) as WireMessage<K>

/** A frame of the list in short: from which version to which, and what it says. */
const shown = (list: List) => [list.listVersion - list.members.length + 1, list.listVersion, words(list).join(' ')]

spec('the online list', (it) => {
  it('is sent to a client that requests it after HELLO, registered or not', async () => {
    await using rig = await heldRig()
    const stranger = await enter(rig, 'carol')
    assert.deepEqual(await stranger.list(), { event: 'ListAck', listVersion: 0, kind: rosterKind.whole, members: [] })
    const alice = await listen(rig, 'alice')
    const list = await stranger.list()
    assert.deepEqual(list, {
      event: 'ListAck',
      listVersion: 1,
      kind: rosterKind.whole,
      members: [{ change: rosterChange.here, node: alice.node, userName: 'alice' }],
    })
  })

  it('sends no changes to a client that has not registered', async () => {
    await using rig = await heldRig()
    const stranger = await enter(rig, 'carol')
    await listen(rig, 'alice')
    await pass(rig.clock, 1_000)
    assert.deepEqual(stranger.raw.unread, [])
  })

  it('sends a single change immediately', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await pass(rig.clock, 50)
    await listen(rig, 'bob')
    await pass(rig.clock, 0)
    assert.deepEqual(shown(await alice.raw.expect('RegistListNtf')), [2, 2, '+bob'])
  })

  it('collects the changes of 50 ms after the latest frame into one, of consecutive versions', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await pass(rig.clock, 0)
    const bob = await listen(rig, 'bob')
    await pass(rig.clock, 20)
    await listen(rig, 'carol')
    await bob.vanish()
    await pass(rig.clock, 29)
    assert.deepEqual(alice.raw.unread, [])
    await pass(rig.clock, 1)
    const list = await alice.raw.expect('RegistListNtf')
    assert.deepEqual([list.kind, ...shown(list)], [rosterKind.changes, 2, 4, '+bob +carol -bob'])
  })

  it('sends a change immediately again after a quiet time', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    await pass(rig.clock, 50)
    const bob = await listen(rig, 'bob')
    await pass(rig.clock, 0)
    assert.deepEqual(shown(await alice.raw.expect('RegistListNtf')), [2, 2, '+bob'])
    await bob.vanish()
    await pass(rig.clock, 49)
    assert.deepEqual(alice.raw.unread, [])
    await pass(rig.clock, 1)
    assert.deepEqual(shown(await alice.raw.expect('RegistListNtf')), [3, 3, '-bob'])
  })

  it('sends a new client only the changes after its whole list', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice')
    const bob = await enter(rig, 'bob')
    assert.equal((await bob.regist()).list.listVersion, 2)
    await listen(rig, 'carol')
    await pass(rig.clock, 0)
    assert.deepEqual(shown(await bob.raw.expect('RegistListNtf')), [3, 3, '+carol'])
  })

  it('is sent to all clients in the same bytes', async () => {
    await using rig = await heldRig()
    const clients = [await listen(rig, 'alice'), await listen(rig, 'bob')]
    await pass(rig.clock, 100)
    await clients[0]?.raw.expect('RegistListNtf')
    await listen(rig, 'carol')
    await pass(rig.clock, 0)
    for (const { raw } of clients) await raw.expect('RegistListNtf')
    const [first, second] = clients.map(({ raw }) => raw.last)
    assert.deepEqual(first, second)
  })

  it('is sent before the PING_ACK that contains its version', async () => {
    await using rig = await heldRig()
    const alice = await listen(rig, 'alice')
    const stranger = await enter(rig, 'carol')
    assert.equal(await alice.toldVersion(), 0)
    await pass(rig.clock, 0)
    assert.equal(await alice.toldVersion(), 1)
    await listen(rig, 'bob')
    assert.equal(await alice.toldVersion(), 1)
    await pass(rig.clock, 50)
    alice.raw.send('PingReq', {})
    assert.equal((await alice.raw.expect('RegistListNtf')).listVersion, 2)
    assert.equal((await alice.raw.expect('PingAck')).listVersion, 2)
    assert.equal(await stranger.toldVersion(), 2)
  })

  it('is what the status of the server shows', async () => {
    await using rig = await heldRig()
    const { node } = await listen(rig, 'alice')
    await (await enter(rig, 'bob')).regist(0)
    assert.deepEqual(rig.server.status().online, [{ node, user: 'alice' }])
  })

  it('starts empty after a restart of the server', async () => {
    await using rig = await heldRig()
    await listen(rig, 'alice')
    await rig.crash()
    await rig.restart()
    assert.equal((await (await enter(rig, 'bob')).list()).listVersion, 0)
  })
})

/** A presence list on a clock that is moved by hand, and the frames that it told. */
function presenceList(clock = new VirtualClock()): {
  list: PresenceList
  clock: VirtualClock
  told: Encoded<'RegistListNtf'>[]
} {
  const told: Encoded<'RegistListNtf'>[] = []
  const list = new PresenceList(50, clock, (changes) => {
    const notice = changes.after(0)
    if (notice) told.push(notice)
    return 1
  })
  return { list, clock, told }
}

const longName = (node: number) => `${node}`.padEnd(fixed.userNameBytes, 'x')

spec('a presence list', (it) => {
  it('encodes a frame once for all, and the whole list once for each version', () => {
    const { list, clock, told } = presenceList()
    list.enter({ node: 1, user: 'alice' })
    clock.pass(0)
    assert.equal(told.length, 1)
    const { payload } = list.whole('RegistListNtf')
    assert.equal(list.whole('ListAck').payload, payload)
    list.enter({ node: 2, user: 'bob' })
    assert.notEqual(list.whole('ListAck').payload, payload)
  })

  it('with the maximum number of clients fits a frame, and so do as many changes at once', () => {
    const { list, clock, told } = presenceList()
    for (let node = 1; node <= fixed.clientsMost; node++) list.enter({ node, user: longName(node) })
    assert.ok(lengthOf(list.whole('ListAck').payload) <= fixed.clientFrameBytes)
    assert.equal(decoded(list.whole('ListAck')).members.length, fixed.clientsMost)
    for (let node = 1; node <= fixed.clientsMost; node++) list.leave({ node, user: longName(node) })
    clock.pass(50)
    assert.deepEqual(
      told.map((frame) => [lengthOf(frame.payload) <= fixed.clientFrameBytes, decoded(frame).listVersion]),
      [
        [true, fixed.clientsMost],
        [true, 2 * fixed.clientsMost],
      ],
    )
  })

  it('encodes the changes of clients that registered at the same version once', () => {
    const clock = new VirtualClock()
    let told: PresenceChanges | undefined
    const list = new PresenceList(50, clock, (changes) => {
      told = changes
      return 1
    })
    for (const node of [1, 2, 3]) list.enter({ node, user: `u${node}` })
    clock.pass(0)
    assert.equal(told?.after(0), told?.after(0))
    assert.equal(told?.after(1), told?.after(1))
    assert.deepEqual(
      [0, 1, 2].map((version) => told?.after(version)).map((notice) => notice && words(decoded(notice))),
      [['+u1', '+u2', '+u3'], ['+u2', '+u3'], ['+u3']],
    )
    assert.equal(told?.after(3), undefined)
  })

  it('keeps a whole list that it has returned as it is', () => {
    const { list } = presenceList()
    for (const node of [1, 2, 3]) list.enter({ node, user: `u${node}` })
    const before = list.whole('ListAck')
    list.leave({ node: 1, user: 'u1' })
    list.enter({ node: 4, user: 'u4' })
    assert.deepEqual(words(decoded(before)), ['+u1', '+u2', '+u3'])
    assert.deepEqual(words(decoded(list.whole('ListAck'))), ['+u2', '+u3', '+u4'])
  })

  it('collects changes for 100 us for each client, if that is longer than 50 ms', () => {
    const clock = new VirtualClock()
    let clients = 500
    const sentAt: number[] = []
    const list = new PresenceList(50, clock, () => {
      sentAt.push(clock.now())
      return clients
    })
    let node = 0
    /** Returns how long a change waits until it is sent. */
    const waitOfChange = () => {
      const startMs = clock.now()
      list.enter({ node: ++node, user: `u${node}` })
      clock.pass(5_000 - (startMs % 5_000))
      return Math.round((sentAt.at(-1) ?? 0) - startMs)
    }
    list.enter({ node: ++node, user: 'first' })
    clock.pass(0)
    assert.equal(waitOfChange(), 50)
    for (const [next, waitMs] of [
      [10_000, 0],
      [fixed.clientsMost, 0],
    ] as const) {
      clients = next
      assert.equal(waitOfChange(), waitMs)
    }
    list.enter({ node: ++node, user: 'second' })
    clock.pass(0)
    assert.equal(waitOfChange(), 2_000)
  })

  it('sends nothing after it was stopped', () => {
    const { list, clock, told } = presenceList()
    list.enter({ node: 1, user: 'alice' })
    list.stop()
    clock.pass(1_000)
    assert.deepEqual(told, [])
  })

  it('is the same for all clients that follow its frames, whenever they registered', () => {
    const step = fc.oneof(
      fc.record({ enter: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ leave: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ pass: fc.integer({ min: 0, max: 120 }) }),
      fc.constant({ join: true }),
    )
    const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new VirtualClock()
      const followers: Follower[] = []
      const frames: number[] = []
      const list: PresenceList = new PresenceList(50, clock, (changes) => {
        frames.push(clock.now())
        for (const follower of followers) {
          const notice = changes.after(follower.joined)
          if (notice) follower.hear(decoded(notice))
        }
        return followers.length
      })
      for (const one of steps) {
        if ('enter' in one) list.enter({ node: one.enter, user: `u${one.enter}` })
        else if ('leave' in one) list.leave({ node: one.leave, user: `u${one.leave}` })
        else if ('pass' in one) clock.pass(one.pass)
        else followers.push(new Follower(decoded(list.whole('RegistListNtf'))))
        for (const { version } of followers) assert.ok(version >= list.sentVersion)
      }
      clock.pass(50)
      assert.equal(list.sentVersion, list.version)
      const nodes = [...list].map(({ node }) => node).sort()
      for (const follower of followers) {
        assert.deepEqual([follower.version, [...follower.nodes].sort()], [list.version, nodes])
      }
      assert.ok(frames.every((at, index) => index === 0 || at - (frames[index - 1] ?? 0) >= 50))
    })
    fc.assert(property, { numRuns: 300 })
  })
})

/** A client's copy of the list. */
class Follower {
  readonly nodes: Set<number>
  readonly joined: number
  version: number

  constructor(whole: List) {
    assert.equal(whole.kind, rosterKind.whole)
    this.joined = whole.listVersion
    this.version = whole.listVersion
    this.nodes = new Set(whole.members.map(({ node }) => node))
  }

  hear({ kind, listVersion, members }: List): void {
    assert.equal(kind, rosterKind.changes)
    assert.equal(listVersion - members.length, this.version, 'a gap, or a change twice')
    for (const { change, node } of members) {
      if (change === rosterChange.here) this.nodes.add(node)
      else this.nodes.delete(node)
    }
    this.version = listVersion
  }
}
