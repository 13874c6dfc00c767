import assert from 'node:assert/strict'
import { memory } from '../../lib/adapters/memoryStorage.ts'
import type { OspError } from '../../lib/errors.ts'
import { defaultLimits, KiB, type Limits, limitsWith } from '../../lib/limits.ts'
import type { Asked } from '../../lib/runtime/peerOptions.ts'
import type { Caller } from '../../lib/server/app.ts'
import { Mailroom } from '../../lib/server/mailroom.ts'
import type { Message, RequestName } from '../../lib/wire/message.ts'
import { patterned } from '../support/memorySource.ts'
import { idOf, textOf, WallClock } from '../support/messageClient.ts'
import { heldPlatform } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { stepped } from '../support/steppedStorage.ts'
import { pass, turn } from '../support/turn.ts'

interface Handed {
  readonly message: Message<'DeliverMsgReq'>
  readonly seq: number
  /** The socket has taken it. */
  left(): void
  answer(): void
}

/** A recipient whose socket takes what the fact says. */
class Recipient implements Caller {
  readonly session = ''
  readonly reliable = true
  readonly node = 1
  readonly from = 'spec'
  readonly user: string
  open = true
  /** Runs within `ask`. */
  asked: () => void = () => {}
  /** Deliveries and repetitions, first to last. */
  readonly handed: Handed[] = []
  readonly #order: string[]

  constructor(user: string, order: string[]) {
    this.user = user
    this.#order = order
  }

  reply(): void {}
  notify(): void {}

  ask<K extends RequestName>(request: Message<K>, left: () => void = () => {}): Asked<K> {
    const message = request as Message as Message<'DeliverMsgReq'>
    const seq = this.handed.length + 1
    this.asked()
    const reply = new Promise<Message>((resolve) => {
      const answer = () => resolve({ event: 'DeliverMsgAck', mailboxSeq: message.mailboxSeq })
      this.#hand({ message, seq, left, answer })
    })
    return { seq, reply: reply as Asked<K>['reply'] }
  }

  repeat(seq: number, request: Message<RequestName>, left: () => void = () => {}): boolean {
    this.#hand({ message: request as Message<'DeliverMsgReq'>, seq, left, answer: () => {} })
    return true
  }

  async close(_why: OspError): Promise<void> {
    this.open = false
  }

  #hand(handed: Handed): void {
    this.handed.push(handed)
    this.#order.push(`${this.user} ${textOf(handed.message.content).slice(0, 1)}`)
  }
}

/** A mailroom on a clock that is moved by hand. */
async function roomWith(limits: Partial<Limits> = {}) {
  const clock = new WallClock()
  const platform = { ...heldPlatform(), clock }
  const storage = memory()
  await storage.open(platform)
  const { mailboxes } = stepped(storage, (_, run) => run())
  const others = { limits: limitsWith(limits), platform, log: () => {}, age: clock }
  const reads: { bytes: number; go: () => void }[] = []
  const state = { holdsReads: false }
  const read: typeof mailboxes.read = async (...args) => {
    if (state.holdsReads) await new Promise<void>((go) => reads.push({ bytes: args[3], go }))
    return mailboxes.read(...args)
  }
  const room = new Mailroom({ mailboxes: { ...mailboxes, read }, ...others })
  await room.open()
  /** What was handed over to whom, in order. */
  const order: string[] = []
  let id = 0
  return {
    room,
    clock,
    order,
    reads,
    state,
    async post(users: readonly string[], content: string | Uint8Array): Promise<void> {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
      await room.post({ sender: 'sender', id: idOf(++id), content: bytes }, users)
    },
    async listen(user: string, asked = () => {}): Promise<Recipient> {
      const recipient = new Recipient(user, order)
      recipient.asked = asked
      room.deliver(recipient)
      await turn()
      return recipient
    },
  }
}

const { deliveryMs } = defaultLimits
const users = (count: number) => Array.from({ length: count }, (_, at) => `user ${at}`)
const bytesIn = (handed: readonly Handed[]) => handed.reduce((sum, { message }) => sum + message.content.length, 0)

spec('the sending work', (it) => {
  it('goes round among recipients: what is not answered in time goes to its tail, one message for each turn', async () => {
    const { post, listen, order, clock } = await roomWith()
    for (const text of ['1', '2', '3']) await post(['alice', 'bob'], text)
    await listen('alice')
    await listen('bob')
    order.length = 0
    await pass(clock, deliveryMs)
    await pass(clock, 0)
    await pass(clock, 0)
    assert.deepEqual(order, ['alice 1', 'bob 1', 'alice 2', 'bob 2', 'alice 3', 'bob 3'])
  })

  it('within a mailbox repeats the earlier message first', async () => {
    const { post, listen, order, clock } = await roomWith()
    for (const text of ['1', '2', '3', '4']) await post(['alice'], text)
    await listen('alice')
    for (let times = 0; times < 4; times++) await pass(clock, times === 0 ? deliveryMs : 0)
    assert.deepEqual(
      order,
      ['1', '2', '3', '4', '1', '2', '3', '4'].map((text) => `alice ${text}`),
    )
  })

  it('counts attempts up to what the field can say', async () => {
    const { post, listen, clock } = await roomWith()
    await post(['alice'], '1')
    const alice = await listen('alice')
    for (let times = 0; times < 300; times++) await pass(clock, 30_000)
    assert.equal(alice.handed.length, 301)
    assert.equal(alice.handed.at(-1)?.message.attempt, 255)
  })
})

spec('the memory of deliveries', (it) => {
  const piece = patterned(64 * KiB)
  const limits = { deliveryMemoryBytes: 512 * KiB, deliveryBytes: 128 * KiB }

  it('is bounded for all recipients together while no socket takes anything, and all get all once they do', async () => {
    const { post, listen } = await roomWith(limits)
    const names = users(20)
    for (let times = 0; times < 3; times++) for (const name of names) await post([name], piece)
    const recipients: Recipient[] = []
    for (const name of names) recipients.push(await listen(name))
    const held = () => bytesIn(recipients.flatMap(({ handed }) => handed))
    assert.equal(held(), limits.deliveryMemoryBytes)
    for (const recipient of recipients.concat(recipients)) {
      for (const { left, answer } of recipient.handed.slice()) {
        left()
        answer()
      }
      await turn()
    }
    for (const recipient of recipients) {
      for (const { left, answer } of recipient.handed) {
        left()
        answer()
      }
    }
    await turn()
    assert.deepEqual(
      recipients.map(({ handed }) => handed.length),
      names.map(() => 3),
    )
  })

  it('is set aside before it is read: not all mailboxes are read at once', async () => {
    const { post, listen, reads, state } = await roomWith(limits)
    const names = users(20)
    await post(names.slice(0, 16), piece)
    await post(names.slice(16), piece)
    state.holdsReads = true
    const recipients: Recipient[] = []
    for (const name of names) recipients.push(await listen(name))
    assert.equal(reads.length, limits.deliveryMemoryBytes / limits.deliveryBytes)
    while (reads.length > 0) {
      const begun = reads.reduce((sum, { bytes }) => sum + bytes, 0)
      assert.ok(begun < limits.deliveryMemoryBytes + limits.deliveryBytes)
      reads.shift()?.go()
      await turn()
      for (const { left } of recipients.flatMap(({ handed }) => handed)) left()
      await turn()
    }
    for (const { handed } of recipients) assert.equal(handed.length, 1)
  })

  it('is not held by recipients who take what they are sent and never answer', async () => {
    const { post, listen } = await roomWith(limits)
    const names = users(20)
    for (let times = 0; times < 5; times++) for (const name of names) await post([name], piece)
    for (const name of names) {
      const recipient = await listen(name)
      for (const { left } of recipient.handed) left()
      assert.equal(bytesIn(recipient.handed), limits.deliveryBytes)
    }
    await post(['last'], 'hello')
    assert.equal((await listen('last')).handed.length, 1)
  })

  it('is free again of a recipient whose link has ended', async () => {
    const { room, post, listen } = await roomWith({ ...limits, deliveryMemoryBytes: 128 * KiB })
    for (const name of ['alice', 'bob']) for (let times = 0; times < 2; times++) await post([name], piece)
    const alice = await listen('alice')
    const bob = await listen('bob')
    assert.deepEqual([alice.handed.length, bob.handed.length], [2, 0])
    room.stop('alice')
    await turn()
    assert.equal(bob.handed.length, 2)
  })

  it('is free again of a recipient whose link ends by what it is sent, and no alarm of it is left', async () => {
    const { room, post, listen, clock } = await roomWith({ ...limits, deliveryMemoryBytes: 64 * KiB })
    for (const name of ['alice', 'bob']) for (let times = 0; times < 2; times++) await post([name], piece)
    const alarms = clock.set
    const alice = await listen('alice', () => room.stop('alice'))
    assert.deepEqual([alice.handed.length, clock.set], [1, alarms])
    assert.equal((await listen('bob')).handed.length, 2)
  })

  it('bounds repetitions as well', async () => {
    const { post, listen, clock } = await roomWith({ ...limits, deliveryMemoryBytes: 128 * KiB })
    for (const name of ['alice', 'bob']) for (let times = 0; times < 2; times++) await post([name], piece)
    const alice = await listen('alice')
    for (const { left } of alice.handed) left()
    await turn()
    const bob = await listen('bob')
    await pass(clock, deliveryMs)
    assert.deepEqual([alice.handed.length, bob.handed.length], [2, 2])
    for (const { left } of bob.handed) left()
    await turn()
    assert.equal(alice.handed.length + bob.handed.length, 6)
  })
})
