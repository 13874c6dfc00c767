import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { bodyFingerprintOf, writeMessage } from '../../../../lib/storage/mailboxes/records.ts'
import { roomy } from '../../../../lib/testing/storage/mailSteps.ts'
import { type Checks, upTo } from '../../../../lib/testing/testCases.ts'
import { newSession, type SharedStoreFixture } from './fixture.ts'
import { mailServer, numbered, numbersOf } from './mail.ts'

type Server = Awaited<ReturnType<typeof mailServer>>

/** Resolves with the numbers of the messages that a device of bob has not answered. */
const unanswered = async ({ mail }: Server, device: string) =>
  numbersOf((await mail.read([{ user: 'bob', afterSeq: 0, device }], 100, 1_000_000))[0] ?? [])

/** Returns the registration of a device of bob. */
const phoneAt = ({ link }: Server, number: number, session = newSession(), device = 'phone') => ({
  ...link('bob', number, session),
  device,
})

const handledBy = (device: string, seqs: readonly number[]) => ({
  user: 'bob',
  seqs,
  how: { state: 'handled', device } as const,
})

const most = 8

/** The promises about the devices of users. */
export const deviceChecks: Checks<SharedStoreFixture> = {
  'have a registration each, and are woken at all servers': async (store) => {
    const servers = [await mailServer(store), await mailServer(store), await mailServer(store)] as const
    const [first, second, third] = servers
    await first.mail.openDevices('bob', ['phone', 'laptop'], 0, most)
    const phone = await first.mail.listen(phoneAt(first, 1))
    const laptop = await second.mail.listen(phoneAt(second, 2, newSession(), 'laptop'))
    assert.deepEqual([phone.former, laptop.former], [undefined, undefined])
    const messages = [numbered(1, ['bob', 'eve']), numbered(2, ['bob'])]
    const { wakes } = await third.mail.post(third.server, messages, roomy)
    assert.deepEqual(wakes.map(({ server, user }) => `${user} ${server}`).sort(), [
      `bob ${first.server}`,
      `bob ${second.server}`,
    ])
    const own = await first.mail.post(first.server, [numbered(3, ['bob'])], roomy)
    assert.deepEqual(own.wakes, [{ server: second.server, user: 'bob' }])
    const lastSeq = await third.mail.lastSeq()
    assert.deepEqual(await second.mail.poll(second.server, []), {
      listened: [{ user: 'bob', device: 'laptop', link: 2, epoch: laptop.epoch, lastSeq }],
      replaced: [],
      hasDevices: true,
    })
  },
  'are taken over by the next registration of the same device, which alone can read for it': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    await first.mail.openDevices('bob', ['phone', 'laptop'], 0, most)
    const [older, newer] = [newSession(), newSession()]
    const { epoch, handed } = await first.mail.listen(phoneAt(first, 1, older))
    await first.mail.listen(phoneAt(first, 2, older, 'laptop'))
    await first.post([numbered(1, ['bob'])])
    const seq = await first.mail.lastSeq()
    const later = await second.mail.listen(phoneAt(second, 3, newer))
    assert.deepEqual([handed, later.handed, later.former], [0, seq, { server: first.server, link: 1 }])
    await assert.rejects(first.mail.listen(phoneAt(first, 4, older)), { code: 'superseded' })
    const readBy = async (by: number) =>
      numbersOf((await first.mail.read([{ user: 'bob', afterSeq: 0, device: 'phone', epoch: by }], 9, 9_000))[0] ?? [])
    assert.deepEqual([await readBy(epoch), await readBy(later.epoch)], [[], [1]])
    // The end of an earlier registration, and what a registration has handed out.
    await first.mail.unlisten({ user: 'bob', device: 'phone' }, epoch, seq)
    assert.deepEqual(await readBy(later.epoch), [1])
    await first.post([numbered(2, ['bob'])])
    await second.mail.unlisten({ user: 'bob', device: 'phone' }, later.epoch, seq)
    assert.deepEqual(await readBy(later.epoch), [])
    assert.equal((await first.mail.listen(phoneAt(first, 5, newer))).handed, seq)
  },
  'have no registration at a server that has ended, and may have received all messages': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    await first.mail.openDevices('bob', ['phone'], 0, most)
    await first.mail.listen(phoneAt(first, 1))
    await first.post([numbered(1, ['bob'])])
    const seq = await first.mail.lastSeq()
    await first.leave()
    const next = await second.mail.listen(phoneAt(second, 2))
    assert.deepEqual([next.handed, next.former], [seq, undefined])
  },
  'include the programs without a device that listen, whichever listens first': async (store) => {
    const server = await mailServer(store)
    const { mail, link } = server
    await server.post([numbered(1, ['bob']), numbered(1, ['bob'], { sender: 'eve' })])
    const seqs = await server.seqsOf('bob')
    await mail.listen(link('bob', 1))
    await mail.openDevices('bob', ['phone'], 0, most)
    await mail.remove(server.server, [handledBy('phone', seqs.slice(0, 1))])
    assert.equal((await unanswered(server, '')).length, 2)
    await mail.remove(server.server, [handledBy('', seqs)])
    assert.deepEqual([await server.seqsOf('bob'), (await unanswered(server, '')).length], [seqs.slice(1), 0])
    await mail.openDevices('eve', ['phone'], 0, most)
    await mail.listen(link('eve', 2))
    await server.post([numbered(2, ['eve'])])
    const [seq = 0] = await server.seqsOf('eve')
    const how = { state: 'handled', device: 'phone' } as const
    await mail.remove(server.server, [{ user: 'eve', seqs: [seq], how }])
    assert.deepEqual(await server.waiting('eve'), [2])
  },
  'answer together in one step, and the receipt reports the last answer': async (store) => {
    const server = await mailServer(store)
    const { mail } = server
    await mail.openDevices('bob', ['phone', 'laptop'], 0, most)
    await server.post([1, 2, 3].map((number) => numbered(number, ['bob'], { sender: 'alice', receipt: true })))
    const [one = 0, two = 0, three = 0] = await server.seqsOf('bob')
    assert.deepEqual(await mail.remove(server.server, [handledBy('phone', [one, two])]), [])
    assert.deepEqual(
      await mail.remove(server.server, [
        handledBy('laptop', [one]),
        handledBy('phone', [three]),
        handledBy('laptop', [three]),
      ]),
      ['alice'],
    )
    assert.deepEqual(await server.waiting('bob'), [2])
    const aside = { user: 'bob', seqs: [two], how: { state: 'rejected', device: 'laptop' } as const }
    assert.deepEqual(await mail.setAside(server.server, [aside]), ['alice'])
    const receipts = { aside: false, afterSeq: 0, most: 9, mostBytes: 9_999 }
    assert.equal((await mail.list(':receipts:alice', receipts)).length, 3)
    assert.deepEqual(numbersOf(await mail.list('bob', { ...receipts, aside: true })), [2])
  },
  'are forgotten with the messages that only they have not answered, whose receipts are stored': async (store) => {
    const server = await mailServer(store)
    const { mail } = server
    const day = 86_400_000
    await mail.openDevices('bob', ['phone', 'laptop'], 0, most)
    await mail.openDevices('bob', ['phone'], 3 * day, most)
    await server.post([1, 2].map((number) => numbered(number, ['bob'], { sender: 'alice', receipt: true })))
    const [one = 0] = await server.seqsOf('bob')
    await mail.remove(server.server, [handledBy('phone', [one])])
    const { forgotten, receipts } = await mail.forgetDevices(server.server, day)
    assert.deepEqual([forgotten, receipts], [[{ user: 'bob', device: 'laptop' }], ['alice']])
    assert.deepEqual(await server.waiting('bob'), [2])
    assert.deepEqual(await mail.forgetDevices(server.server, 4 * day), {
      forgotten: [{ user: 'bob', device: 'phone' }],
      receipts: [],
    })
    assert.equal((await mail.poll(server.server, [])).hasDevices, false)
  },
  'are removed with the messages that only they have not answered, unless they listen at any server': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    const { mail } = first
    const phone = { user: 'bob', device: 'phone' }
    await mail.openDevices('bob', ['phone', 'laptop', 'watch'], 0, most)
    const before = await second.mail.listen(phoneAt(second, 1))
    await first.post([1, 2, 3].map((number) => numbered(number, ['bob'], { sender: 'alice', receipt: true })))
    const [one = 0, two = 0] = await first.seqsOf('bob')
    const how = { state: 'rejected', results: new Map([[two, 'no']]), device: 'laptop' } as const
    await mail.remove(first.server, [handledBy('laptop', [one])])
    await mail.setAside(first.server, [{ user: 'bob', seqs: [two], how }])
    await assert.rejects(mail.removeDevice(first.server, phone), { code: 'device-listening' })
    assert.deepEqual(await mail.listDevices('bob'), [
      { name: 'laptop', seenAt: 0, waiting: 1, isListening: false },
      { name: 'phone', seenAt: 0, waiting: 3, isListening: true },
      { name: 'watch', seenAt: 0, waiting: 3, isListening: false },
    ])
    const watch = await mail.removeDevice(first.server, { user: 'bob', device: 'watch' })
    assert.deepEqual(watch, { isRemoved: true, receipts: [] })
    await second.mail.unlisten(phone, before.epoch, 0)
    const removed = await mail.removeDevice(first.server, phone)
    assert.deepEqual(removed, { isRemoved: true, receipts: ['alice'] })
    assert.deepEqual(await mail.removeDevice(first.server, phone), { isRemoved: false, receipts: [] })
    assert.deepEqual(await first.waiting('bob'), [3])
    const page = { aside: true, afterSeq: 0, most: 9, mostBytes: 9_999 }
    assert.deepEqual(numbersOf(await mail.list('bob', page)), [2])
    assert.equal((await mail.list(':receipts:alice', { ...page, aside: false })).length, 2)
    // A registration makes the device known again. The end of an earlier one does not end it.
    const after = await second.mail.listen(phoneAt(second, 2))
    await second.mail.unlisten(phone, before.epoch, 0)
    assert.ok(after.epoch > before.epoch)
    assert.deepEqual(
      (await mail.listDevices('bob')).map(({ name, waiting, isListening }) => [name, waiting, isListening]),
      [
        ['laptop', 1, false],
        ['phone', 1, true],
      ],
    )
  },
  'are removed while they register elsewhere and messages are stored: no message is lost or waits for ever': async (
    store,
  ) => {
    const [first, second, third] = [await mailServer(store), await mailServer(store), await mailServer(store)]
    const phone = { user: 'bob', device: 'phone' }
    let number = 0
    const posting = () => third.post([numbered(++number, ['bob']), numbered(++number, ['bob'])])
    const answered = async (server: Server, device: string) =>
      server.mail.remove(server.server, [handledBy(device, await server.seqsOf('bob'))])
    for (const round of upTo(10)) {
      await first.mail.openDevices('bob', ['laptop', 'phone'], 0, most)
      await posting()
      const [{ epoch }] = await Promise.all([
        second.mail.listen(phoneAt(second, round)),
        posting(),
        first.mail.removeDevice(first.server, phone).catch(({ code }) => assert.equal(code, 'device-listening')),
        posting(),
        answered(third, 'laptop'),
      ])
      const kept = ++number
      await third.post([numbered(kept, ['bob'])])
      await answered(third, 'laptop')
      // The registered device is known: the messages wait for it, and it can read them.
      const page = { ...phone, afterSeq: 0, epoch }
      const read = numbersOf((await second.mail.read([page], 100, 1_000_000))[0] ?? [])
      assert.deepEqual([read.at(-1), read], [kept, await third.waiting('bob')])
      await second.mail.unlisten(phone, epoch, 0)
      await Promise.all([posting(), first.mail.removeDevice(first.server, phone), answered(third, 'laptop'), posting()])
      await answered(third, 'laptop')
      assert.deepEqual(await third.waiting('bob'), [])
    }
  },
  'without a name are removed like others, and cannot be removed while they listen': async (store) => {
    const server = await mailServer(store)
    const { mail, link } = server
    const unnamed = { user: 'bob', device: '' }
    const { epoch } = await mail.listen(link('bob', 1))
    await mail.openDevices('bob', ['phone'], 0, most)
    await server.post([numbered(1, ['bob'])])
    await mail.remove(server.server, [handledBy('phone', await server.seqsOf('bob'))])
    await assert.rejects(mail.removeDevice(server.server, unnamed), { code: 'device-listening' })
    await mail.unlisten(unnamed, epoch, 0)
    assert.deepEqual(await mail.removeDevice(server.server, unnamed), { isRemoved: true, receipts: [] })
    assert.deepEqual(await server.waiting('bob'), [])
    await mail.attend(server.server, 'eve')
    assert.equal((await mail.removeDevice(server.server, { user: 'eve', device: '' })).isRemoved, false)
  },
  'are imported once, with the messages that they have answered': async (store) => {
    const steps = await store.connect()
    const { imports } = steps
    const begun = await imports.begin({ id: 'a', place: '/srv/one', lastSeq: 9, lastTime: 5 })
    const messages = [3, 4].map((seq) => {
      const given = { ...numbered(seq, ['bob']), seq: seq + begun.seqShift }
      const fingerprint = bodyFingerprintOf(writeMessage(seq, given, given.recipients, crc32))
      return { ...given, fingerprint, mailboxes: [{ user: 'bob', isAside: false }] }
    })
    await imports.addMessages(begun.server, messages)
    const [one = 0, two = 0] = messages.map(({ seq }) => seq)
    const devices = [
      { name: 'phone', seenAt: 5, answered: [one] },
      { name: 'laptop', seenAt: 5, answered: [two] },
    ]
    const rejected = new Map([[two, 'no such account']])
    for (let times = 0; times < 2; times++) await imports.addDevices({ user: 'bob', devices, rejected })
    assert.ok((await imports.usedNames()).includes('bob'))
    await imports.finish('a')
    const server = await mailServer(store)
    assert.deepEqual([await unanswered(server, 'phone'), await unanswered(server, 'laptop')], [[4], [3]])
    await server.mail.remove(server.server, [handledBy('phone', [two]), handledBy('laptop', [one])])
    assert.deepEqual(await server.waiting('bob'), [])
    const page = { aside: true, afterSeq: 0, most: 9, mostBytes: 9_999 }
    assert.deepEqual(numbersOf(await server.mail.list('bob', page)), [4])
  },
}
