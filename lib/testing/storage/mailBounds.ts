import assert from 'node:assert/strict'
import type { MailboxBounds, MailboxStore } from '../../ports/mailboxes.ts'
import { type Checks, upTo } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { append, halves, long, message, roomy, seqsOf, waiting } from './mailSteps.ts'

const full = (...recipients: string[]) => ({ code: 'mailbox-full', recipients })

const mailBoundsChecks: Checks<TestedStorage> = {
  'apply to the messages of one mailbox; a refusal names the full ones and stores nothing': async ({ mailboxes }) => {
    const bounds = { ...roomy, messages: 2 }
    for (const number of [1, 2]) await append(mailboxes, message(number), ['bob', 'eve'], bounds)
    const refused = append(mailboxes, message(3), ['carol', 'eve', 'dave', 'bob'], bounds)
    await assert.rejects(refused, full('eve', 'bob'))
    assert.deepEqual(await waiting(mailboxes, 'carol'), [])
    await append(mailboxes, message(3), ['carol', 'dave'], bounds)
    await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
    await append(mailboxes, message(4), ['bob'], bounds)
  },
  'apply to the bytes of one mailbox': async ({ mailboxes }) => {
    const bounds = { ...roomy, bytes: 100 }
    await append(mailboxes, long(1, 60), ['bob'], bounds)
    await assert.rejects(append(mailboxes, long(2, 41), ['bob', 'eve'], bounds), full('bob'))
    await append(mailboxes, long(3, 40), ['bob', 'eve'], bounds)
  },
  'apply to the messages of all mailboxes, counted for each recipient, and affect them all': async ({ mailboxes }) => {
    const bounds = { ...roomy, allMessages: 3 }
    await append(mailboxes, message(1), ['bob', 'eve'], bounds)
    await assert.rejects(append(mailboxes, message(2), ['carol', 'bob'], bounds), full('carol', 'bob'))
    await append(mailboxes, message(3), ['carol'], bounds)
  },
  'apply to the bytes of all mailboxes, counted for each recipient; a refusal is `disk-full`, stores nothing and forgets the id':
    async (storage) => {
      const bounds = { ...roomy, allBytes: 100 }
      await append(storage.mailboxes, long(1, 30), ['bob', 'eve'], bounds)
      await storage.mailboxes.setAside('eve', await seqsOf(storage.mailboxes, 'eve'))
      await assert.rejects(append(storage.mailboxes, long(2, 21), ['carol', 'dave'], bounds), { code: 'disk-full' })
      await storage.restart()
      const { mailboxes } = storage
      await assert.rejects(append(mailboxes, long(2, 41), ['carol'], bounds), { code: 'disk-full' })
      assert.deepEqual(await waiting(mailboxes, 'carol'), [])
      assert.deepEqual(mailboxes.full([{ ...long(2, 41), recipients: ['carol'] }], bounds), [])
      await append(mailboxes, long(2, 20), ['carol', 'dave'], bounds)
      await append(mailboxes, long(3, 0), ['bob'], bounds)
      await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
      await append(mailboxes, long(4, 30), ['bob'], bounds)
      await assert.rejects(append(mailboxes, long(5, 1), ['bob'], bounds), { code: 'disk-full' })
    },
  'apply to the bytes of all mailboxes for one sender, who must leave a part for others': async ({ mailboxes }) => {
    const bounds = { ...halves, allBytes: 100 }
    await append(mailboxes, long(1, 30), ['bob'], bounds)
    await assert.rejects(append(mailboxes, long(2, 21), ['eve'], bounds), { code: 'disk-full' })
    await append(mailboxes, long(2, 20), ['eve'], bounds)
    await append(mailboxes, { ...long(3, 50), sender: 'zoe' }, ['bob'], bounds)
  },
  'count messages that are being stored, were set aside, or were stored before a restart': async (storage) => {
    const { mailboxes } = storage
    const bounds = { ...roomy, messages: 2, bytes: 100 }
    const first = append(mailboxes, long(1, 50), ['bob'], bounds)
    await assert.rejects(append(mailboxes, long(2, 51), ['bob'], bounds), full('bob'))
    await first
    await mailboxes.setAside('bob', await seqsOf(mailboxes, 'bob'))
    await append(mailboxes, long(3, 50), ['bob'], bounds)
    const levels = [{ user: 'bob', messages: 2, bytes: 100 }]
    assert.deepEqual(await mailboxes.levels(), levels)
    await storage.restart()
    assert.deepEqual(await storage.mailboxes.levels(), levels)
    await assert.rejects(append(storage.mailboxes, long(4, 0), ['bob'], bounds), full('bob'))
  },
  'are those that the query for full mailboxes uses: it returns the recipients of a refusal, and none for other outcomes':
    async ({ mailboxes }) => {
      const bounds = { ...roomy, messages: 2, bytes: 100, allMessages: 5, senderIds: 3 }
      const to = (recipients: string[], number: number, bytes: number) => ({ ...long(number, bytes), recipients })
      for (const number of [1, 2]) await append(mailboxes, long(number, 10), ['bob', 'eve'], bounds)
      assert.deepEqual(mailboxes.full([to(['carol', 'eve', 'bob'], 3, 10)], { ...bounds, allMessages: 9 }), [
        'eve',
        'bob',
      ])
      assert.deepEqual(mailboxes.full([to(['carol'], 3, 10)], bounds), [])
      assert.deepEqual(mailboxes.full([to(['carol'], 3, 101)], bounds), ['carol'])
      assert.deepEqual(mailboxes.full([to(['carol', 'dave'], 3, 10)], bounds), ['carol', 'dave'])
      // The append of a known message, and the refusal of one id too many.
      assert.deepEqual(mailboxes.full([to(['bob', 'eve'], 2, 10)], bounds), [])
      assert.deepEqual(mailboxes.full([to(['bob'], 3, 10)], { ...bounds, senderIds: 2 }), [])
      // Several messages need space for all of them.
      const two = [to(['carol'], 3, 50), to(['dave'], 4, 50)]
      assert.deepEqual(mailboxes.full(two, { ...bounds, allMessages: 6 }), [])
      assert.deepEqual(mailboxes.full(two, bounds), ['carol', 'dave'])
      assert.deepEqual(mailboxes.full([...two, to(['eve'], 5, 1)], { ...bounds, allMessages: 9 }), [
        'carol',
        'dave',
        'eve',
      ])
    },
  'free space at once after a removal': async ({ mailboxes }) => {
    const bounds = { ...roomy, messages: 1 }
    await append(mailboxes, message(1), ['bob'], bounds)
    await Promise.all([mailboxes.remove('bob', [1]), append(mailboxes, message(2), ['bob'], bounds)])
    assert.deepEqual(await waiting(mailboxes, 'bob'), [2])
  },
  'apply to the ids of one sender and of all, also while these are stored; not to repetitions': async ({
    mailboxes,
  }) => {
    const bounds = { ...roomy, senderIds: 2, allIds: 3 }
    const limited = { code: 'rate-limited' }
    const appends = [1, 2, 3, 1].map((number) => append(mailboxes, message(number), ['bob'], bounds))
    const outcomes = (await Promise.allSettled(appends)).map(({ status }) => status)
    assert.deepEqual(outcomes, ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'])
    await append(mailboxes, message(1, { sender: 'eve' }), ['bob'], bounds)
    await assert.rejects(append(mailboxes, message(1, { sender: 'carol' }), ['bob'], bounds), limited)
    await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
    await assert.rejects(append(mailboxes, message(3), ['bob'], bounds), limited)
    await append(mailboxes, message(2), ['bob'], bounds)
    await mailboxes.expire(100, 0, 2)
    await append(mailboxes, message(3), ['bob'], bounds)
  },
  'are checked in this order: the id, the number of ids, the mailboxes, the disk': async ({ mailboxes }) => {
    const reserving = { ...roomy, reserveBytes: Number.MAX_SAFE_INTEGER }
    const none = { ...reserving, messages: 0, senderIds: 0 }
    await append(mailboxes, message(1), ['bob'], roomy)
    await append(mailboxes, message(1), ['bob'], none)
    await assert.rejects(append(mailboxes, message(1), ['eve'], none), { code: 'id-reused' })
    await assert.rejects(append(mailboxes, message(2), ['bob'], none), { code: 'rate-limited' })
    await assert.rejects(append(mailboxes, message(2), ['bob'], { ...none, senderIds: 9 }), full('bob'))
    await assert.rejects(append(mailboxes, message(2), ['bob'], reserving), { code: 'disk-full' })
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
  },
}

const firstFlood = { sender: 'alice', to: ['bob'], from: 1, bytes: 9, code: 'mailbox-full' }

/** Appends messages, numbered from `from`, until one is refused with `code`. Resolves with how many were accepted. */
async function flood(mailboxes: MailboxStore, bounds: MailboxBounds, other: Partial<typeof firstFlood> = {}) {
  const { sender, to, from, bytes, code } = { ...firstFlood, ...other }
  for (let number = from; ; number++) {
    try {
      await append(mailboxes, { ...long(number, bytes), sender }, to, bounds)
    } catch (error) {
      assert.equal((error as { code?: string }).code, code)
      return number - from
    }
  }
}

/** Appends sixty messages of 60,000 bytes at once. Resolves with the number of them that were stored. */
async function overfill(mailboxes: MailboxStore, bounds: MailboxBounds): Promise<number> {
  const appends = upTo(60).map((number) => append(mailboxes, long(number, 60_000), ['bob'], bounds))
  const outcomes = await Promise.allSettled(appends)
  const refusals = outcomes.filter((outcome) => outcome.status === 'rejected')
  for (const { reason } of refusals) assert.equal(reason.code, 'disk-full')
  return outcomes.length - refusals.length
}

const mailSpaceChecks: Checks<TestedStorage> = {
  'leave the reserve free, so that messages can still be removed': async (storage) => {
    const { mailboxes } = storage
    const stored = await overfill(mailboxes, { ...roomy, reserveBytes: 1_000_000 })
    assert.ok(stored > 5 && stored < 55, `${stored} of 60 messages were stored`)
    assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(stored))
    await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
    await storage.restart()
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [])
  },
  'leave other senders as much of the free disk as one sender uses': async (storage) => {
    const stored = await overfill(storage.mailboxes, halves)
    assert.ok(stored > 5 && stored < 28, `${stored} of 60 messages were stored`)
    await storage.restart()
    const { mailboxes } = storage
    await assert.rejects(append(mailboxes, long(61, 60_000), ['bob'], halves), {
      code: 'disk-full',
      publicText: /^the waiting messages of one sender must leave space on the disk/u,
    })
    await append(mailboxes, { ...long(62, 60_000), sender: 'eve' }, ['bob'], halves)
  },
  'refuse messages that do not fit, keep the others, and accept more when there is space again': async (storage) => {
    const stored = upTo(await flood(storage.mailboxes, roomy, { bytes: 50_000, code: 'disk-full' }))
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), stored)
    await storage.restart()
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), stored)
  },
}

/** The refusal of a message of alice with which her share of mailboxes would be exceeded. */
const overShare = (...boxes: readonly string[]) => {
  const text =
    'the waiting messages of alice .* the share of one sender; try again after .*: no space in the mailbox of'
  return { ...full(...boxes), message: new RegExp(`^${text} ${boxes.slice(0, 2).join(', ')}`, 'u') }
}

/** The number of messages out of a hundred that each of four users can store, one after another. */
const shares = { ann: 50, ben: 25, cem: 12, dan: 6 }

const mailSharesChecks: Checks<TestedStorage> = {
  'equals the rest: a sender to many recipients leaves space for others, also after a restart': async (storage) => {
    const bounds = { ...halves, allMessages: 100 }
    const sixteen = upTo(16).map((number) => `user ${number}`)
    const recipients = ['bob', ...sixteen.slice(1)]
    assert.equal(await flood(storage.mailboxes, bounds, { to: sixteen }), 3)
    await assert.rejects(append(storage.mailboxes, message(4), recipients, bounds), overShare(...recipients))
    await append(storage.mailboxes, message(1, { sender: 'eve' }), ['bob'], bounds)
    await storage.restart()
    await assert.rejects(append(storage.mailboxes, message(4), sixteen, bounds), { code: 'mailbox-full' })
    assert.equal(await flood(storage.mailboxes, bounds, { sender: 'eve', from: 2 }), 25)
  },
  'applies to each of several senders, and leaves as much free': async ({ mailboxes }) => {
    const bounds = { ...halves, allMessages: 100 }
    for (const [sender, share] of Object.entries(shares)) {
      assert.equal(await flood(mailboxes, bounds, { sender }), share)
    }
    for (const sender of ['eve', 'fay', 'gus']) await append(mailboxes, message(1, { sender }), ['bob'], bounds)
  },
  'applies to the messages and the bytes of one mailbox': async ({ mailboxes }) => {
    const bounds = { ...halves, messages: 10 }
    assert.equal(await flood(mailboxes, bounds), 5)
    await assert.rejects(append(mailboxes, message(6), ['carol', 'bob'], bounds), overShare('bob'))
    assert.equal(await flood(mailboxes, bounds, { sender: 'eve' }), 2)
    const narrow = { ...halves, bytes: 1_000 }
    await append(mailboxes, long(11, 500), ['dave'], narrow)
    await assert.rejects(append(mailboxes, long(12, 1), ['dave'], narrow), { code: 'mailbox-full' })
    await append(mailboxes, { ...long(13, 250), sender: 'eve' }, ['dave'], narrow)
  },
  'applies to several messages from the second one on, also in the query for full mailboxes': async ({ mailboxes }) => {
    const messages = (count: number, user: string) => upTo(count).map((n) => ({ ...long(n, 10), recipients: [user] }))
    for (const [user, bounds] of [
      ['bob', { ...halves, messages: 10 }],
      ['carol', { ...halves, bytes: 100 }],
      ['dave', { ...halves, allMessages: 10 }],
    ] as const) {
      assert.deepEqual(mailboxes.full(messages(6, user), bounds), [user])
      assert.deepEqual(mailboxes.full(messages(5, user), bounds), [])
      const outcomes = await mailboxes.append(messages(6, user), bounds)
      const codes = outcomes.map((error) => error?.code)
      assert.deepEqual(codes, [...upTo(5).map(() => undefined), 'mailbox-full'])
      await mailboxes.remove(user, await seqsOf(mailboxes, user))
      await mailboxes.expire(100, 100, 100)
    }
  },
  'applies to message ids, also after a restart': async (storage) => {
    const bounds = { ...halves, allIds: 100 }
    for (const [sender, share] of Object.entries(shares)) {
      const { mailboxes } = storage
      assert.equal(await flood(mailboxes, bounds, { sender, to: [sender], code: 'rate-limited' }), share)
      await mailboxes.remove(sender, await seqsOf(mailboxes, sender))
      if (sender === 'ben') await storage.restart()
    }
    await append(storage.mailboxes, message(1, { sender: 'eve' }), ['bob'], bounds)
  },
  'counts messages that were set aside, but not those that were removed or have expired': async ({ mailboxes }) => {
    const bounds = { ...halves, allMessages: 8, messages: 8 }
    assert.equal(await flood(mailboxes, bounds), 4)
    const [first = 0, second = 0] = await seqsOf(mailboxes, 'bob')
    await mailboxes.setAside('bob', [first])
    await assert.rejects(append(mailboxes, message(5), ['bob'], bounds), { code: 'mailbox-full' })
    await mailboxes.remove('bob', [first, second])
    assert.equal(await flood(mailboxes, bounds, { from: 5 }), 2)
    await mailboxes.expire(100, 5, 0)
    assert.equal(await flood(mailboxes, bounds, { from: 7 }), 2)
  },
  'lets a sender without messages use the free space, and no sender more than that': async ({ mailboxes }) => {
    const bounds = { ...halves, messages: 2 }
    await append(mailboxes, message(1), ['bob'], bounds)
    await assert.rejects(append(mailboxes, message(2), ['bob'], bounds), { code: 'mailbox-full' })
    await append(mailboxes, message(1, { sender: 'eve' }), ['bob'], bounds)
    const refused = append(mailboxes, message(1, { sender: 'fay' }), ['bob'], bounds)
    await assert.rejects(refused, { message: 'no space in the mailbox of bob' })
  },
}

/** The limits of `MailboxStore.append`. */
export const mailBoundSuites: readonly StorageSuite[] = [
  ['the limits of mailboxes in a storage', mailBoundsChecks],
  ['the share of one sender in the mailboxes of a storage', mailSharesChecks],
  ['mailboxes in a storage without free space', mailSpaceChecks, 'smallLocation'],
]
