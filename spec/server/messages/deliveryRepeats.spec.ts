import assert from 'node:assert/strict'
import { defaultLimits, fixed } from '../../../lib/limits.ts'
import { repetition } from '../../../lib/wire/frame.ts'
import { heldRig, MessageClient, textOf } from '../../support/messageClient.ts'
import type { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const { listen } = MessageClient

/** So that nobody is taken for dead who says nothing. */
const keepAliveMs = 3_600_000
const { deliveryMs } = defaultLimits

/** Stores messages for Bob, named by their number; resolves with their sender. */
async function store(rig: ServerRig, ...numbers: number[]): Promise<MessageClient> {
  const alice = await listen(rig, 'alice')
  for (const number of numbers) await alice.post(number, ['bob'], `${number}`)
  return alice
}

/** Which message a delivery is, and which attempt. */
const shown = ({ content, attempt }: { readonly content: Uint8Array; readonly attempt: number }) =>
  `${textOf(content)}, attempt ${attempt}`

spec('a delivery that is not answered in time', (it) => {
  it('is repeated under its seq, marked as a repetition, only its attempt changing', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    assert.equal(bob.raw.last?.flags, 0)
    await pass(rig.clock, deliveryMs - 1)
    assert.deepEqual(bob.unread, [])
    await pass(rig.clock, 1)
    assert.deepEqual(await bob.delivery(), { ...first, attempt: 2 })
    assert.equal(bob.raw.last?.flags, repetition)
  })

  it('is repeated at growing intervals, up to half a minute', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.delivery()
    const waits = [deliveryMs, 2 * deliveryMs, fixed.mostTimeoutMs, fixed.mostTimeoutMs]
    for (const [at, ms] of waits.entries()) {
      await pass(rig.clock, ms - 1)
      assert.deepEqual(bob.unread, [])
      await pass(rig.clock, 1)
      assert.equal((await bob.delivery()).attempt, at + 2)
    }
  })

  it('delays neither later messages in the window nor other recipients', async () => {
    await using rig = await heldRig({ keepAliveMs })
    const alice = await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.delivery()
    await alice.post(2, ['bob', 'alice'], '2')
    assert.equal(shown(await bob.delivery()), '2, attempt 1')
    assert.equal(shown(await alice.delivery()), '2, attempt 1')
  })

  it('and others are each repeated at their time', async () => {
    await using rig = await heldRig({ keepAliveMs })
    const alice = await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.delivery()
    await pass(rig.clock, deliveryMs / 2)
    await alice.post(2, ['bob'], '2')
    await bob.delivery()
    await pass(rig.clock, deliveryMs / 2)
    assert.equal(shown(await bob.delivery()), '1, attempt 2')
    assert.deepEqual(bob.unread, [])
    await pass(rig.clock, deliveryMs / 2)
    assert.equal(shown(await bob.delivery()), '2, attempt 2')
  })

  it('is removed by a late answer to any of its frames', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    await pass(rig.clock, deliveryMs)
    await bob.delivery()
    await bob.take(first)
    await pass(rig.clock, 20 * deliveryMs)
    assert.deepEqual(bob.unread, [])
    const back = await listen(rig, 'bob', { session: 'two' })
    await turn()
    assert.deepEqual(back.unread, [])
  })

  it('is not repeated if the answer arrives while it is being read', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    await turn()
    const read = rig.storage.hold('read messages')
    await pass(rig.clock, deliveryMs)
    await read.reached
    const removal = rig.storage.hold('remove messages')
    await bob.take(first)
    read.go()
    const reads = rig.storage.count.get('read messages')
    await pass(rig.clock, 20 * deliveryMs)
    await pass(rig.clock, 20 * deliveryMs)
    assert.deepEqual([bob.unread, rig.storage.count.get('read messages')], [[], reads])
    removal.go()
  })

  it('is repeated alone if the ones after it were answered', async () => {
    await using rig = await heldRig({ keepAliveMs })
    const bob = await listen(rig, 'bob')
    await store(rig, 1, 2)
    const [, second] = await bob.deliveries(2)
    assert.ok(second)
    await bob.take(second)
    const reads = rig.storage.count.get('read messages') ?? 0
    await pass(rig.clock, deliveryMs)
    await pass(rig.clock, 0)
    assert.equal(shown(await bob.delivery()), '1, attempt 2')
    assert.deepEqual([bob.unread, rig.storage.count.get('read messages')], [[], reads + 1])
  })

  it('is repeated with those of its messages that are not handled, later if some were handled meanwhile', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1, 2, 3)
    const bob = await listen(rig, 'bob')
    const [first, second] = await bob.deliveries(3)
    assert.ok(first && second)
    await pass(rig.clock, deliveryMs / 2)
    await bob.take(first)
    await pass(rig.clock, deliveryMs - 1)
    assert.deepEqual(bob.unread, [])
    await pass(rig.clock, 1)
    const again = await bob.deliveries(2)
    assert.deepEqual(again.map(shown), ['2, attempt 2', '3, attempt 2'])
    assert.equal(again[0]?.seqOfReq, first.seqOfReq)
    await bob.take(...again)
    await pass(rig.clock, 20 * deliveryMs)
    assert.deepEqual(bob.unread, [])
  })

  it('no longer blocks the window after its message left the mailbox, for example by its age', async () => {
    await using rig = await heldRig({ keepAliveMs, deliveryWindow: 1 })
    await store(rig, 1, 2)
    const bob = await listen(rig, 'bob')
    const first = await bob.delivery()
    await rig.storage.mailboxes.remove('bob', [first.mailboxSeq])
    await pass(rig.clock, deliveryMs)
    const second = await bob.delivery()
    assert.equal(shown(second), '2, attempt 1')
    await bob.take(first, second)
    assert.equal(await bob.toldVersion(), 2)
  })

  it('is not repeated after its answer', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const bob = await listen(rig, 'bob')
    await bob.take(await bob.delivery())
    await pass(rig.clock, 20 * deliveryMs)
    assert.deepEqual(bob.unread, [])
    assert.deepEqual(
      rig.log.filter(({ level }) => level !== 'info'),
      [],
    )
  })
})

spec('a delivery on a new link', (it) => {
  it('that was unanswered on the former one has the next attempt, under a seq of the new link', async () => {
    await using rig = await heldRig({ keepAliveMs, deliveryWindow: 2 })
    await store(rig, 1, 2, 3)
    const first = await listen(rig, 'bob', { session: 'same' })
    const answered = await first.delivery()
    await first.take(answered)
    await first.deliveries(2)
    await first.vanish()
    const second = await listen(rig, 'bob', { session: 'same' })
    const all = await second.deliveries(2)
    assert.deepEqual(all.map(shown), ['2, attempt 2', '3, attempt 2'])
    assert.deepEqual(
      all.map(({ seqOfReq }) => seqOfReq),
      [1, 1],
    )
  })

  it('counts every attempt, including repetitions', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const first = await listen(rig, 'bob')
    await first.delivery()
    await pass(rig.clock, deliveryMs)
    assert.equal(shown(await first.delivery()), '1, attempt 2')
    await first.vanish()
    const second = await listen(rig, 'bob')
    assert.equal(shown(await second.delivery()), '1, attempt 3')
    const third = await listen(rig, 'bob', { session: 'takes over' })
    assert.equal(shown(await third.delivery()), '1, attempt 4')
  })

  it('counts attempts from before hours without a listening client', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1)
    const first = await listen(rig, 'bob')
    await first.delivery()
    await first.vanish()
    for (let hour = 0; hour < 3; hour++) await pass(rig.clock, 3_600_000)
    assert.equal(shown(await (await listen(rig, 'bob')).delivery()), '1, attempt 2')
  })

  it('that was not sent on the former one is the first', async () => {
    await using rig = await heldRig({ keepAliveMs, deliveryWindow: 1 })
    await store(rig, 1, 2)
    const first = await listen(rig, 'bob')
    await first.delivery()
    await first.vanish()
    const second = await listen(rig, 'bob')
    await second.take(await second.delivery())
    assert.equal(shown(await second.delivery()), '2, attempt 1')
  })

  it('is repeated if the answer was not processed when the former one ended', async () => {
    await using rig = await heldRig({ keepAliveMs })
    await store(rig, 1, 2)
    const first = await listen(rig, 'bob')
    const [one, two] = await first.deliveries(2)
    assert.ok(one && two)
    const removal = rig.storage.hold('remove messages')
    await first.take(one)
    await removal.reached
    const other = rig.storage.hold('remove messages')
    await first.take(two)
    await first.vanish()
    const second = await listen(rig, 'bob')
    const all = await second.deliveries(2)
    assert.deepEqual(all.map(shown), ['1, attempt 2', '2, attempt 2'])
    removal.go()
    other.go()
    await second.take(...all)
    const third = await listen(rig, 'bob', { session: 'three' })
    await turn()
    assert.deepEqual(third.unread, [])
  })
})

for (const how of ['crash', 'stop'] as const) {
  spec(`a delivery after a ${how} of the server`, (it) => {
    it('of an older message is perhaps not the first, of a newer one is', async () => {
      await using rig = await heldRig({ keepAliveMs })
      await store(rig, 1, 2)
      const bob = await listen(rig, 'bob')
      await bob.take(await bob.delivery())
      if (how === 'crash') await rig.crash()
      else await rig.server.close()
      await rig.restart()
      await store(rig, 3)
      const back = await listen(rig, 'bob')
      const all = await back.deliveries(2)
      assert.deepEqual(all.map(shown), ['2, attempt 2', '3, attempt 1'])
      await back.take(...all)
      await rig.crash()
      await rig.restart()
      await store(rig, 4)
      assert.equal(shown(await (await listen(rig, 'bob')).delivery()), '4, attempt 1')
    })
  })
}
