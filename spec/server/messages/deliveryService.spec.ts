import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import type { OspError } from '../../../lib/errors.ts'
import { defaultLimits, fixed, KiB, type Limits, limitsWith } from '../../../lib/limits.ts'
import type { Asked } from '../../../lib/runtime/linkDriver.ts'
import type { Connection, ServerContext } from '../../../lib/server/app.ts'
import { DeliveryService } from '../../../lib/server/messages/deliveryService.ts'
import { decode, type Encoded, type RequestName, type WireMessage } from '../../../lib/wire/message.ts'
import { apps, events } from '../../../lib/wire/protocol.ts'
import { patterned } from '../../support/memorySource.ts'
import { idOf, textOf, WallClock } from '../../support/messageClient.ts'
import { manualPlatform } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { stepped } from '../../support/steppedStorage.ts'
import { pass, turn } from '../../support/turn.ts'

/** A delivery, or a repetition, that was passed to a socket. */
interface Handed {
  readonly message: WireMessage<'DeliverMsgReq'>
  readonly seq: number
  /** Accepts the frame on behalf of the socket. */
  left(): void
  answer(): void
}

/** Decodes the request of a delivery. */
function deliveryIn(request: WireMessage<RequestName> | Encoded<RequestName>): WireMessage<'DeliverMsgReq'> {
  const { payload } = request as Encoded<RequestName>
  const { number, app } = events.DeliverMsgReq
  return decode({ event: number, app: apps[app], payload }) as WireMessage<'DeliverMsgReq'>
}

/** A recipient whose socket accepts frames under the control of the spec. */
class Recipient implements Connection {
  readonly session = ''
  readonly reliable = true
  readonly node = 1
  readonly from = 'spec'
  readonly user: string
  open = true
  /** Whether its socket accepts everything immediately. */
  takes = false
  /** Called within `ask`. */
  asked: () => void = () => {}
  /** Deliveries and repetitions, in order. */
  readonly handed: Handed[] = []
  readonly #order: string[]

  constructor(user: string, order: string[]) {
    this.user = user
    this.#order = order
  }

  reply(): void {}
  charge(): void {}
  notify(): void {}

  ask<K extends RequestName>(request: WireMessage<K> | Encoded<K>, left: () => void = () => {}): Asked<K> {
    const message = deliveryIn(request)
    const seq = this.handed.length + 1
    this.asked()
    const reply = new Promise<WireMessage>((resolve) => {
      this.#hand({
        message,
        seq,
        left,
        answer: () =>
          resolve({ event: 'DeliverMsgAck', mailboxSeq: message.messages.at(-1)?.mailboxSeq ?? 0, rejected: [] }),
      })
    })
    return { seq, reply: reply as Asked<K>['reply'] }
  }

  repeat(seq: number, request: WireMessage<RequestName> | Encoded<RequestName>, left: () => void = () => {}): boolean {
    this.#hand({ message: deliveryIn(request), seq, left, answer: () => {} })
    return true
  }

  async close(_why: OspError): Promise<void> {
    this.open = false
  }

  #hand(handed: Handed): void {
    this.handed.push(handed)
    for (const { body } of handed.message.messages) this.#order.push(`${this.user} ${textOf(body).slice(0, 1)}`)
    if (this.takes) handed.left()
  }
}

/** A delivery service on a manual clock. */
async function deliveryRig(limits: Partial<Limits> = {}) {
  const clock = new WallClock()
  const platform = { ...manualPlatform(), clock }
  const storage = memory()
  await storage.open(platform)
  const { mailboxes } = stepped(storage, (_, run) => run())
  const reads: { bytes: number; go: () => void }[] = []
  const state = { holdsReads: false }
  const read: typeof mailboxes.read = async (...args) => {
    if (state.holdsReads) await new Promise<void>((go) => reads.push({ bytes: args[3], go }))
    return mailboxes.read(...args)
  }
  const context: ServerContext = {
    platform,
    storage: { ...storage, mailboxes: { ...mailboxes, read } },
    limits: limitsWith(limits),
    onConflict: 'replace',
    log: () => {},
    age: clock,
  }
  const room = new DeliveryService(context, { messageReserveBytes: 0 }, () => {})
  await room.open()
  /** The deliveries and their recipients, in order. */
  const order: string[] = []
  let id = 0
  return {
    room,
    mailboxes,
    clock,
    order,
    reads,
    state,
    async post(users: readonly string[], content: string | Uint8Array): Promise<void> {
      const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
      const posted = { sender: 'sender', id: idOf(++id), content: bytes, recipients: users }
      await Promise.all(await room.post([posted], { user: 'sender', session: '', node: 0 }, () => true))
      room.stored(posted)
    },
    async listen(user: string, how: Partial<Pick<Recipient, 'takes' | 'asked'>> = {}, device = ''): Promise<Recipient> {
      const recipient = Object.assign(new Recipient(user, order), how)
      const link = { user, session: '', node: 0, device, epoch: 0 }
      await room.openDevice(link)
      room.deliver(recipient, { link, handed: 0 })
      await turn()
      return recipient
    },
  }
}

const { deliveryMs } = defaultLimits
const users = (count: number) => Array.from({ length: count }, (_, at) => `user ${at}`)
const messagesIn = (handed: readonly Handed[]) => handed.flatMap(({ message }) => message.messages)
const bytesIn = (handed: readonly Handed[]) => messagesIn(handed).reduce((sum, { body }) => sum + body.length, 0)

spec('the work of sending', (it) => {
  it('keeps devices known while they listen', async () => {
    const { room, mailboxes, post, listen, clock } = await deliveryRig({ deviceAgeMs: 24 * fixed.deviceSeenMs })
    const phone = await listen('bob', { takes: true }, 'phone')
    await listen('bob', { takes: true }, 'laptop')
    room.stop({ user: 'bob', device: 'laptop' })
    await post(['bob'], 'hello')
    await turn()
    phone.handed[0]?.answer()
    for (let hour = 0; hour < 24; hour++) await pass(clock, 3_600_000)
    assert.equal((await mailboxes.levels()).length, 1)
    // The laptop is forgotten. If the phone were too, the message would wait for the next device.
    for (let hour = 0; hour < 3; hour++) await pass(clock, 3_600_000)
    assert.equal((await mailboxes.levels()).length, 0)
  })

  it('serves recipients in turn, one request each, and puts deliveries without an answer at the tail of the queue', async () => {
    const { post, listen, order, clock } = await deliveryRig()
    await listen('alice', { takes: true })
    await listen('bob', { takes: true })
    for (const text of ['1', '2', '3']) await post(['alice', 'bob'], text)
    await turn()
    order.length = 0
    await pass(clock, deliveryMs)
    await pass(clock, 0)
    await pass(clock, 0)
    assert.deepEqual(order, ['alice 1', 'bob 1', 'alice 2', 'bob 2', 'alice 3', 'bob 3'])
  })

  it('within a mailbox repeats the earlier message first', async () => {
    const { post, listen, order, clock } = await deliveryRig()
    await listen('alice', { takes: true })
    for (const text of ['1', '2', '3', '4']) await post(['alice'], text)
    for (let times = 0; times < 4; times++) await pass(clock, times === 0 ? deliveryMs : 0)
    assert.deepEqual(
      order,
      ['1', '2', '3', '4', '1', '2', '3', '4'].map((text) => `alice ${text}`),
    )
  })

  it('repeats nothing that the socket has not taken, and waits for the answer from that time on', async () => {
    const { post, listen, clock } = await deliveryRig()
    await post(['alice'], '1')
    const alice = await listen('alice')
    await pass(clock, 10 * deliveryMs)
    assert.equal(alice.handed.length, 1)
    alice.handed[0]?.left()
    await pass(clock, deliveryMs - 1)
    assert.equal(alice.handed.length, 1)
    await pass(clock, 1)
    assert.equal(alice.handed.length, 2)
  })

  it('counts attempts up to the maximum of the field', async () => {
    const { post, listen, clock } = await deliveryRig()
    await post(['alice'], '1')
    const alice = await listen('alice', { takes: true })
    for (let times = 0; times < 300; times++) await pass(clock, 30_000)
    assert.equal(alice.handed.length, 301)
    assert.equal(alice.handed.at(-1)?.message.attempt, 255)
  })

  it('remembers no attempts of messages that left the mailbox while no client listened', async () => {
    const { room, post, listen, clock } = await deliveryRig({ deliveryWindow: 2, messageAgeMs: 1_800_000 })
    await post(['alice'], '1')
    await pass(clock, 3_000_000)
    for (const text of ['2', '3']) await post(['alice'], text)
    const remembered: number[] = []
    for (let links = 0; links < 2; links++) {
      const alice = await listen('alice', { takes: true })
      assert.deepEqual(
        alice.handed.flatMap(({ message: { messages, attempt } }) =>
          messages.map(({ body }) => [textOf(body), attempt]),
        ),
        links === 0
          ? [
              ['1', 1],
              ['2', 1],
            ]
          : [
              ['2', 2],
              ['3', 1],
            ],
      )
      room.stop({ user: 'alice', device: '' })
      remembered.push(room.gauges.rememberedAttemptsPerUser)
      await pass(clock, 600_000)
    }
    assert.deepEqual(remembered, [2, 2])
  })
})

spec('the memory of deliveries', (it) => {
  const piece = patterned(64 * KiB)
  const limits = { deliveryMemoryBytes: 512 * KiB, deliveryBytes: 128 * KiB }

  it('is limited while no socket takes anything, except one message each, and all recipients get all messages afterwards', async () => {
    const { post, listen } = await deliveryRig(limits)
    const names = users(20)
    for (let times = 0; times < 3; times++) for (const name of names) await post([name], piece)
    const recipients: Recipient[] = []
    for (const name of names) recipients.push(await listen(name))
    const held = () => bytesIn(recipients.flatMap(({ handed }) => handed))
    const most = limits.deliveryMemoryBytes / limits.deliveryBytes
    assert.deepEqual(
      recipients.map(({ handed }) => handed.length),
      names.map((_, at) => (at < most ? 2 : 1)),
    )
    assert.equal(held(), limits.deliveryMemoryBytes + (names.length - most) * piece.length)
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

  it('is reserved before reading: not all mailboxes are read at once', async () => {
    const { post, listen, reads, state } = await deliveryRig(limits)
    const names = users(20)
    await post(names.slice(0, 16), piece)
    await post(names.slice(16), piece)
    state.holdsReads = true
    const recipients: Recipient[] = []
    for (const name of names) recipients.push(await listen(name))
    // Eight more read one message each.
    assert.equal(reads.length, limits.deliveryMemoryBytes / limits.deliveryBytes + 8)
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

  it('is not used by recipients who read deliveries and never answer', async () => {
    const { post, listen } = await deliveryRig(limits)
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

  it('can be used up by recipients that read nothing: another one still gets one message after another', async () => {
    const { post, listen } = await deliveryRig(limits)
    for (const name of users(50)) {
      for (let times = 0; times < 2; times++) await post([name], piece)
      await listen(name)
    }
    for (let times = 0; times < 5; times++) await post(['last'], piece)
    const last = await listen('last')
    for (let count = 1; count <= 5; count++) {
      assert.equal(last.handed.length, count)
      last.handed.at(-1)?.left()
      last.handed.at(-1)?.answer()
      await turn()
    }
  })

  it('is released when the link of a recipient ends', async () => {
    const { room, post, listen } = await deliveryRig({ ...limits, deliveryMemoryBytes: 128 * KiB })
    for (const name of ['alice', 'bob']) for (let times = 0; times < 2; times++) await post([name], piece)
    const alice = await listen('alice')
    const bob = await listen('bob')
    assert.deepEqual([alice.handed.length, bob.handed.length], [2, 1])
    room.stop({ user: 'alice', device: '' })
    await turn()
    assert.equal(bob.handed.length, 2)
  })

  it('is released when the link ends during a delivery, and no alarm is left', async () => {
    const { room, post, listen, clock } = await deliveryRig({ ...limits, deliveryMemoryBytes: 64 * KiB })
    for (const name of ['alice', 'bob']) for (let times = 0; times < 2; times++) await post([name], piece)
    const alarms = clock.set
    const alice = await listen('alice', { asked: () => room.stop({ user: 'alice', device: '' }) })
    assert.deepEqual([alice.handed.length, clock.set], [1, alarms])
    assert.equal((await listen('bob')).handed.length, 2)
  })

  it('also limits repetitions', async () => {
    const { post, listen, clock } = await deliveryRig({ ...limits, deliveryMemoryBytes: 128 * KiB })
    for (const name of ['alice', 'bob']) for (let times = 0; times < 2; times++) await post([name], piece)
    const alice = await listen('alice')
    for (const { left } of alice.handed) left()
    await turn()
    const bob = await listen('bob')
    await pass(clock, deliveryMs)
    // One message for her who holds none, though memory is full.
    assert.deepEqual([alice.handed.length, bob.handed.length], [3, 2])
    for (const { left } of bob.handed) left()
    await turn()
    assert.equal(alice.handed.length + bob.handed.length, 6)
  })
})
