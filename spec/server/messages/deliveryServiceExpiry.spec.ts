import assert from 'node:assert/strict'
import { defaultLimits } from '../../../lib/limits.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import type { Attributes } from '../../../lib/wire/messageBody.ts'
import { ClusterServers } from '../../support/clusterServers.ts'
import { heldRig, MessageClient, textOf, type WallClock } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const { listen } = MessageClient

const hourMs = 3_600_000
const yearMs = 365 * 24 * hourMs
/** So that nobody is taken for dead who says nothing. */
const keepAliveMs = hourMs
const limits = { keepAliveMs, messageAgeMs: 10 * hourMs, messageIdMs: 20 * hourMs }

/** Lets hours pass with nobody there, as the server sees them. */
async function hours(clock: WallClock, count: number): Promise<void> {
  for (let hour = 0; hour < count; hour++) await pass(clock, hourMs)
}

async function store(rig: ServerRig, number: number, text = `${number}`, attributes: Attributes = {}) {
  const alice = await listen(rig, 'alice')
  const statuses = await alice.postWith(attributes, number, ['bob'], text)
  await alice.vanish()
  return statuses
}

const storeFor = (rig: ServerRig, number: number, timeToLive: number) => store(rig, number, undefined, { timeToLive })

/** Resolves after `ms`. */
const wait = (clock: VirtualClock, ms: number) =>
  new Promise<void>((resolve) => void clock.alarm(clock.now() + ms, resolve))

/** The messages that wait for Bob. */
async function waiting(rig: ServerRig): Promise<string[]> {
  const bob = await listen(rig, 'bob')
  await turn()
  const all = await bob.deliveries(bob.unread.length)
  await bob.vanish()
  return all.map(({ content }) => textOf(content))
}

const expired = (rig: ServerRig) =>
  rig.log.flatMap(({ event, user, messages }) => (event === 'messages-expired' ? [`${user} ${messages}`] : []))

spec('a message', (it) => {
  it('expires once it is older than its limit, within an hour, which is logged and counted', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    await store(rig, 2)
    await hours(rig.clock, 5)
    await store(rig, 3)
    await hours(rig.clock, 5)
    assert.deepEqual(expired(rig), [])
    await hours(rig.clock, 1)
    assert.deepEqual(expired(rig), ['bob 2'])
    assert.deepEqual(await waiting(rig), ['3'])
  })

  it('waits thirty days by default', () => {
    assert.equal(defaultLimits.messageAgeMs, 30 * 24 * hourMs)
  })

  it('expires also if the server was restarted meanwhile, again and again', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    for (let times = 0; times < 12; times++) {
      await hours(rig.clock, 1)
      await rig.crash()
      await rig.restart()
    }
    assert.deepEqual(expired(rig), ['bob 1'])
  })

  it('does not expire by a wall clock that jumps a year forward, whether the server runs or not', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    rig.clock.aheadMs = yearMs
    await hours(rig.clock, 2)
    await rig.crash()
    rig.clock.aheadMs = 2 * yearMs
    await rig.restart()
    await hours(rig.clock, 2)
    assert.deepEqual([expired(rig), await waiting(rig)], [[], ['1']])
  })

  it('expires in time although the wall clock is set a year back', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    rig.clock.aheadMs = -yearMs
    await hours(rig.clock, 9)
    assert.deepEqual(expired(rig), [])
    await hours(rig.clock, 2)
    assert.deepEqual(expired(rig), ['bob 1'])
  })

  it('that was set aside expires as well', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.reject(await bob.delivery())
    await bob.vanish()
    await hours(rig.clock, 11)
    assert.deepEqual(expired(rig), ['bob 1'])
  })

  it('has the wall time of its acceptance as its sending time', async () => {
    await using rig = await heldRig(limits)
    rig.clock.aheadMs = -yearMs
    const sentAt = rig.clock.wallTime()
    await store(rig, 1)
    rig.clock.aheadMs = 0
    await hours(rig.clock, 1)
    assert.equal((await (await listen(rig, 'bob')).delivery()).sentAt, sentAt)
  })

  it('is stored and delivered also if the wall clock is before 1970', async () => {
    await using rig = await heldRig(limits)
    rig.clock.aheadMs = -60 * yearMs
    await rig.crash()
    await rig.restart()
    await store(rig, 1)
    assert.equal((await (await listen(rig, 'bob')).delivery()).sentAt, 0)
  })
})

spec('a message id', (it) => {
  it('is remembered for its time, also after its message was delivered or has expired', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.take(await bob.delivery())
    await bob.vanish()
    await hours(rig.clock, 20)
    assert.deepEqual(await store(rig, 1), ['bob stored'])
    assert.deepEqual(await waiting(rig), [])
  })

  it('is forgotten within an hour after it', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    await hours(rig.clock, 21)
    await store(rig, 1, 'another')
    assert.deepEqual(await waiting(rig), ['another'])
  })

  it('leaves its place to others when it is forgotten', async () => {
    await using rig = await heldRig({ ...limits, senderIds: 1 })
    await store(rig, 1)
    const alice = await listen(rig, 'alice')
    await alice.postRefused(2, ['bob'], '2', 'rate-limited')
    await alice.vanish()
    await hours(rig.clock, 21)
    assert.deepEqual(await store(rig, 2), ['bob stored'])
  })

  it('is remembered for seven days by default, and HELLO_ACK says so', async () => {
    await using rig = await heldRig()
    const raw = await rig.dial()
    raw.hello()
    assert.equal((await raw.expect('HelloAck')).messageIdFor, 7 * 24 * 3_600)
  })
})

spec('the sweep of old messages', (it) => {
  it('that fails is logged, and tried again an hour later', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    const { expire } = rig.storage.mailboxes
    let fails = true
    Object.assign(rig.storage.mailboxes, {
      expire: (...times: Parameters<typeof expire>) => (fails ? Promise.reject(new Error('EIO')) : expire(...times)),
    })
    await hours(rig.clock, 11)
    assert.ok(rig.log.some(({ event, text }) => event === 'mailboxes-not-swept' && text === 'EIO'))
    assert.deepEqual(expired(rig), [])
    fails = false
    await hours(rig.clock, 1)
    assert.deepEqual(expired(rig), ['bob 1'])
  })

  it('ends with the server, and leaves no alarm', async () => {
    await using rig = await heldRig(limits)
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.delivery()
    await rig.server.close()
    assert.deepEqual(rig.clock.set, [])
  })

  it('that is running delays the end of the server, and is the last', async () => {
    await using rig = await heldRig(limits)
    const { expire } = rig.storage.mailboxes
    const [reached, going] = [deferred<void>(), deferred<void>()]
    Object.assign(rig.storage.mailboxes, {
      expire: async (...times: Parameters<typeof expire>) => {
        reached.resolve()
        await going.promise
        return expire(...times)
      },
    })
    await hours(rig.clock, 1)
    await reached.promise
    const closing = rig.server.close()
    await turn()
    going.resolve()
    await closing
    assert.deepEqual(rig.clock.set, [])
    assert.deepEqual(
      rig.log.filter(({ level }) => level !== 'info'),
      [],
    )
  })
})

spec('the time to live of a message', (it) => {
  it('expires by the wall clock: the message is removed instead of delivered, which is logged and counted', async () => {
    await using rig = await heldRig(limits)
    await storeFor(rig, 1, 1_000)
    await store(rig, 2)
    await storeFor(rig, 3, 2_000)
    await pass(rig.clock, 1_000)
    const bob = await listen(rig, 'bob')
    assert.deepEqual(
      (await bob.deliveries(2)).map(({ content }) => textOf(content)),
      ['2', '3'],
    )
    await bob.vanish()
    await pass(rig.clock, 20)
    assert.deepEqual(expired(rig), ['bob 1'])
    await pass(rig.clock, 1_000)
    assert.deepEqual(await waiting(rig), ['2'])
    await pass(rig.clock, 20)
    assert.deepEqual(expired(rig), ['bob 1', 'bob 1'])
  })

  it('expires within an hour if no program is listening, even after a restart', async () => {
    await using rig = await heldRig(limits)
    await storeFor(rig, 1, 1_000)
    await storeFor(rig, 2, 2 * hourMs)
    await rig.crash()
    await rig.restart()
    assert.deepEqual(expired(rig), [])
    await hours(rig.clock, 1)
    assert.deepEqual(expired(rig), ['bob 1'])
    await hours(rig.clock, 1)
    assert.deepEqual(expired(rig), ['bob 1', 'bob 1'])
  })

  it('may exceed the exact range of numbers', async () => {
    await using rig = await heldRig(limits)
    await storeFor(rig, 1, Number.MAX_SAFE_INTEGER)
    await rig.crash()
    await rig.restart()
    assert.deepEqual(await waiting(rig), ['1'])
  })
})

spec('the messages of several servers', (it) => {
  it('expire at the end of their time to live, at one of the live servers', async () => {
    const clock = new VirtualClock()
    await using cluster = await ClusterServers.create(clock)
    const servers = [await cluster.start(), await cluster.start(), await cluster.start()] as const
    const expired = () => cluster.log.filter(({ event }) => event === 'messages-expired')
    await cluster.passing(servers[2].send('alice', ['bob'], '1', { timeToLiveMs: 5_000 }))
    await pass(clock, 4_900)
    assert.deepEqual(expired(), [])
    await cluster.passing(wait(clock, 2_200))
    assert.deepEqual(
      expired().map(({ user, messages }) => [user, messages]),
      [['bob', 1]],
    )
    await cluster.passing(servers[0].close())
    await cluster.passing(servers[1].send('alice', ['bob'], '2', { timeToLiveMs: 5_000 }))
    await cluster.passing(wait(clock, 7_100))
    assert.equal(expired().length, 2)
  })
})
