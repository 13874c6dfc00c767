import assert from 'node:assert/strict'
import { type Checks, upTo } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { all, append, long, message, messageNumbersOf, post, roomy, seqsOf, waiting } from './mailSteps.ts'

const appendingChecks: Checks<TestedStorage> = {
  'is returned as it was appended, now and after a restart': async (storage) => {
    const given = message(1, { content: Uint8Array.of(0, 255, 10), sender: 'élise', sentAt: 1.7e12 + 1 })
    await append(storage.mailboxes, given, ['bob'], roomy)
    for (const _ of ['at once', 'after a restart']) {
      const [found, ...others] = await all(storage.mailboxes, 'bob')
      assert.ok(found)
      const { seq, sender, sentAt, id, content } = found
      assert.deepEqual([seq, sender, sentAt, others.length], [1, 'élise', given.sentAt, 0])
      assert.deepEqual([Uint8Array.from(id), Uint8Array.from(content)], [given.id, given.content])
      await storage.restart()
    }
  },
  'reaches all of sixteen recipients with one seq, and no other user': async (storage) => {
    const users = upTo(16).map((number) => `user ${number}`)
    await append(storage.mailboxes, message(1), users, roomy)
    await storage.restart()
    for (const user of users) assert.deepEqual(await seqsOf(storage.mailboxes, user), [1])
    const reached = (await storage.mailboxes.levels()).map(({ user }) => user)
    assert.deepEqual(reached, users.toSorted())
  },
  'may be empty, and may have no recipient': async ({ mailboxes }) => {
    await append(mailboxes, long(1, 0), ['bob'], roomy)
    await append(mailboxes, message(2), [], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
  },
  'follows all messages that were appended before it, also under concurrent appends': async (storage) => {
    const { mailboxes } = storage
    await Promise.all(upTo(500).map((number) => append(mailboxes, message(number), ['bob'], roomy)))
    assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(500))
    await storage.restart()
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), upTo(500))
    const seqs = await seqsOf(storage.mailboxes, 'bob')
    const rising = [...new Set(seqs)].toSorted((a, b) => a - b)
    assert.deepEqual(seqs, rising)
  },
  'has its own outcome if it is appended together with others': async (storage) => {
    await post(storage.mailboxes, [1])
    const to = (number: number, ...recipients: string[]) => ({ ...message(number), recipients })
    const messages = [
      ...[to(1, 'bob'), to(2, 'bob'), to(2, 'bob'), to(2, 'eve')],
      ...[to(3, 'bob'), to(4, 'bob', 'eve'), to(5, 'eve')],
    ]
    const outcomes = await storage.mailboxes.append(messages, { ...roomy, messages: 3 })
    assert.deepEqual(
      outcomes.map((error) => error?.code),
      [undefined, undefined, undefined, 'id-reused', undefined, 'mailbox-full', undefined],
    )
    await storage.restart()
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [1, 2, 3])
    assert.deepEqual(await waiting(storage.mailboxes, 'eve'), [5])
  },
  'is refused by a storage that is closed': async (storage) => {
    const { mailboxes } = storage
    await storage.close()
    await assert.rejects(append(mailboxes, message(1), ['bob'], roomy), { code: 'closed' })
    await assert.rejects(mailboxes.read('bob', 0, 1, 1), { code: 'closed' })
  },
}

const repetitionChecks: Checks<TestedStorage> = {
  'stores nothing while the first is being stored, later, and after a restart': async (storage) => {
    const { mailboxes } = storage
    const users = ['bob', 'eve']
    await Promise.all([1, 1, 2, 1].map((number) => append(mailboxes, message(number), users, roomy)))
    await post(mailboxes, [2], users)
    await storage.restart()
    await append(storage.mailboxes, message(1, { storedAt: 99 }), users, roomy)
    for (const user of users) assert.deepEqual(await waiting(storage.mailboxes, user), [1, 2])
  },
  'stores nothing when the message was removed from every mailbox': async (storage) => {
    await post(storage.mailboxes, [1])
    await storage.mailboxes.remove('bob', [1])
    await post(storage.mailboxes, [1])
    await storage.restart()
    await post(storage.mailboxes, [1])
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [])
  },
  'with another content or other recipients is refused, also while the first is being stored': async (storage) => {
    const first = post(storage.mailboxes, [1], ['bob', 'eve'])
    for (const _ of ['being stored', 'durable', 'after a restart']) {
      const { mailboxes } = storage
      const others = [
        append(mailboxes, long(1, 9), ['bob', 'eve'], roomy),
        append(mailboxes, message(1), ['eve', 'bob'], roomy),
        append(mailboxes, message(1), ['bob'], roomy),
      ]
      await Promise.all(others.map((other) => assert.rejects(other, { code: 'id-reused' })))
      await first
      await storage.restart()
    }
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [1])
  },
  'is a new message if another user sends it': async ({ mailboxes }) => {
    await post(mailboxes, [1])
    await append(mailboxes, message(1, { sender: 'eve', content: new Uint8Array(1) }), ['bob'], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 1])
  },
  'fails with the first one, and can then be stored itself': async ({ mailboxes }) => {
    await post(mailboxes, [1])
    const tight = { ...roomy, messages: 1 }
    await assert.rejects(append(mailboxes, message(2), ['bob'], tight), { code: 'mailbox-full' })
    await append(mailboxes, message(2, { content: new Uint8Array(3) }), ['bob', 'eve'], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 2])
  },
}

const readingChecks: Checks<TestedStorage> = {
  'returns pages of limited messages and bytes, but at least one message': async ({ mailboxes }) => {
    for (const number of upTo(6)) await append(mailboxes, long(number, number * 100), ['bob'], roomy)
    const page = async (after: number, most: number, bytes: number) =>
      messageNumbersOf(await mailboxes.read('bob', after, most, bytes))
    assert.deepEqual(await page(0, 2, 10_000), [1, 2])
    assert.deepEqual(await page(2, 10, 700), [3, 4])
    assert.deepEqual(await page(4, 10, 1), [5])
    assert.deepEqual(await page(5, 10, 10_000), [6])
    assert.deepEqual(await page(6, 10, 10_000), [])
    assert.deepEqual(await page(0, 0, 10_000), [])
    assert.deepEqual(await waiting(mailboxes, 'eve'), [])
  },
  'finds messages that are far apart, and old ones': async ({ mailboxes }) => {
    const users = ['bob', 'eve', 'carol']
    const recipientOf = (number: number) => users[number % 3] ?? ''
    const appends = upTo(300).map((number) => append(mailboxes, long(number, 30_000), [recipientOf(number)], roomy))
    await Promise.all(appends)
    for (const user of users) {
      const found = await all(mailboxes, user)
      const own = upTo(300).filter((number) => recipientOf(number) === user)
      assert.deepEqual(messageNumbersOf(found), own)
      assert.ok(found.every(({ content }) => content.length === 30_000))
    }
  },
}

const removingChecks: Checks<TestedStorage> = {
  'is gone from that mailbox only, now and after a restart': async (storage) => {
    await post(storage.mailboxes, upTo(4), ['bob', 'eve'])
    await storage.mailboxes.remove('bob', [3, 1, 99, 3])
    await storage.mailboxes.remove('carol', [1])
    for (const _ of ['now', 'after a restart']) {
      assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [2, 4])
      assert.deepEqual(await waiting(storage.mailboxes, 'eve'), [1, 2, 3, 4])
      await storage.restart()
    }
  },
  'is not returned any more as soon as the removal was requested': async ({ mailboxes }) => {
    await post(mailboxes, upTo(3))
    const removing = mailboxes.remove('bob', [2])
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
    await Promise.all([removing, mailboxes.remove('bob', [2])])
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
  },
}

const settingAsideChecks: Checks<TestedStorage> = {
  'is not returned, and stays until it expires or is removed': async (storage) => {
    await post(storage.mailboxes, upTo(4), ['bob', 'eve'])
    await storage.mailboxes.setAside('bob', [2, 3, 99])
    await storage.mailboxes.setAside('carol', [1])
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [1, 4])
    await storage.restart()
    const { mailboxes } = storage
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 4])
    assert.deepEqual(await waiting(mailboxes, 'eve'), [1, 2, 3, 4])
    await mailboxes.remove('bob', [2])
    const bytes = 3 * 'message 1'.length
    assert.deepEqual((await mailboxes.levels())[0], { user: 'bob', messages: 3, bytes })
    const expired = await mailboxes.expire(10, 4, 0)
    const counts = Object.fromEntries(expired.map(({ user, messages }) => [user, messages]))
    assert.deepEqual(counts, { bob: 2, eve: 3 })
  },
}

/** Resolves with the numbers of the messages that were set aside. */
const setAsideIn = async ({ mailboxes }: TestedStorage, user: string) =>
  messageNumbersOf(await mailboxes.list(user, { aside: true, afterSeq: 0, most: 1_000, mostBytes: 1_000_000 }))

const returningChecks: Checks<TestedStorage> = {
  'is listed in pages, separately from waiting messages': async (storage) => {
    await post(storage.mailboxes, upTo(6), ['bob', 'eve'])
    await storage.mailboxes.setAside('bob', [2, 4, 5])
    for (const _ of ['now', 'after a restart']) {
      const { mailboxes } = storage
      const page = async (aside: boolean, afterSeq: number, most: number, mostBytes = 1_000) =>
        messageNumbersOf(await mailboxes.list('bob', { aside, afterSeq, most, mostBytes }))
      assert.deepEqual([await page(true, 0, 2), await page(true, 4, 2), await page(true, 5, 2)], [[2, 4], [5], []])
      assert.deepEqual([await page(false, 0, 9), await page(true, 0, 9, 1)], [[1, 3, 6], [2]])
      assert.deepEqual(await setAsideIn(storage, 'eve'), [])
      await storage.restart()
    }
  },
  'returns to the mailbox as its last message, unchanged except for its seq, with a new age': async (storage) => {
    const first = storage.mailboxes
    for (const number of upTo(3))
      await append(first, message(number, { expiresAt: 9_000 + number }), ['bob', 'eve'], roomy)
    await append(first, long(4, 5_000), ['bob', 'eve'], roomy)
    await first.setAside('bob', [1, 2, 4])
    const [levels, [before]] = [await first.levels(), await all(first, 'eve')]
    await first.return('bob', [4, 1, 3, 99, 1], 50)
    await first.return('bob', [1], 50)
    await first.return('carol', [1], 50)
    for (const _ of ['now', 'after a restart']) {
      const found = await all(storage.mailboxes, 'bob')
      assert.deepEqual(messageNumbersOf(found), [3, 1, 4])
      assert.deepEqual(
        found.map(({ seq }) => seq),
        [3, 5, 6],
      )
      const returned = found[1]
      assert.ok(returned && before)
      const plain = ({ seq: _, id, content, ...rest }: typeof before) => [
        rest,
        Uint8Array.from(id),
        Uint8Array.from(content),
      ]
      assert.deepEqual(plain(returned), plain(before))
      assert.deepEqual(Uint8Array.from(found[2]?.content ?? []), long(4, 5_000).content)
      assert.deepEqual(await setAsideIn(storage, 'bob'), [2])
      assert.deepEqual(await waiting(storage.mailboxes, 'eve'), [1, 2, 3, 4])
      assert.deepEqual([await storage.mailboxes.levels(), await storage.mailboxes.lastSeq()], [levels, 6])
      await storage.restart()
    }
    const { mailboxes } = storage
    await post(mailboxes, [1], ['bob', 'eve']).catch(() => {})
    await post(mailboxes, [5], ['bob'])
    assert.deepEqual(await seqsOf(mailboxes, 'bob'), [3, 5, 6, 7])
    const expired = await mailboxes.expire(100, 5, 0)
    assert.equal(expired.find(({ user }) => user === 'bob')?.messages, 2)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 4, 5])
  },
  'can be set aside, returned and removed again': async (storage) => {
    await post(storage.mailboxes, upTo(2))
    for (const round of upTo(5)) {
      const { mailboxes } = storage
      const [seq = 0] = await seqsOf(mailboxes, 'bob')
      await mailboxes.setAside('bob', [seq])
      await mailboxes.return('bob', [seq], 10 + round)
      assert.deepEqual(await waiting(mailboxes, 'bob'), round % 2 > 0 ? [2, 1] : [1, 2])
      await storage.restart()
    }
    await storage.mailboxes.remove('bob', await seqsOf(storage.mailboxes, 'bob'))
    await storage.restart()
    assert.deepEqual(await storage.mailboxes.levels(), [])
  },
}

const timeChecks: Checks<TestedStorage> = {
  'expires messages by their age and ids by theirs, for good': async (storage) => {
    const first = storage.mailboxes
    await post(first, upTo(5))
    await post(first, [6], ['eve'])
    assert.deepEqual(await first.expire(100, 4, 3), [{ user: 'bob', messages: 3 }])
    assert.deepEqual(await first.expire(100, 4, 3), [])
    await storage.restart()
    const { mailboxes } = storage
    assert.deepEqual(await waiting(mailboxes, 'bob'), [4, 5])
    assert.deepEqual(await mailboxes.expire(100, 4, 3), [])
    await append(mailboxes, message(3, { storedAt: 100 }), ['bob'], roomy)
    await append(mailboxes, message(2, { storedAt: 100 }), ['bob'], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [4, 5, 2])
  },
  'permanently removes a message whose time to live has expired, even if it was set aside': async (storage) => {
    const first = storage.mailboxes
    const users = ['bob', 'eve']
    for (const number of upTo(6)) {
      const expiresAt = number % 2 > 0 ? 1_000 + number : undefined
      await append(first, message(number, { expiresAt }), number === 6 ? ['bob'] : users, roomy)
    }
    const limits = async () => (await all(storage.mailboxes, 'bob')).map(({ expiresAt = 0 }) => expiresAt)
    assert.deepEqual(await limits(), [1_001, 0, 1_003, 0, 1_005, 0])
    await first.setAside('bob', [1])
    assert.deepEqual(await first.expire(100, 0, 0, 1_000), [])
    const expired = await first.expire(100, 0, 0, 1_003)
    const counts = Object.fromEntries(expired.map(({ user, messages }) => [user, messages]))
    assert.deepEqual(counts, { bob: 2, eve: 2 })
    assert.deepEqual(await first.expire(100, 0, 0, 1_003), [])
    await storage.restart()
    assert.deepEqual(await limits(), [0, 0, 1_005, 0])
    assert.deepEqual(await waiting(storage.mailboxes, 'eve'), [2, 4, 5])
    const levels = await storage.mailboxes.levels()
    assert.deepEqual(
      levels.map(({ messages }) => messages),
      [4, 3],
    )
    const both = await storage.mailboxes.expire(100, 5, 0, 1_005)
    const all100 = Object.fromEntries(both.map(({ user, messages }) => [user, messages]))
    assert.deepEqual(all100, { bob: 3, eve: 3 })
    await storage.restart()
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [6])
  },
  'is remembered, with a message or without one': async (storage) => {
    assert.equal(await storage.mailboxes.lastTime(), 0)
    await append(storage.mailboxes, message(1, { storedAt: 1e12 + 0.5 }), ['bob'], roomy)
    assert.equal(await storage.mailboxes.lastTime(), 1e12 + 0.5)
    await storage.restart()
    assert.equal(await storage.mailboxes.lastTime(), 1e12 + 0.5)
    await storage.mailboxes.expire(2e12, 0, 0)
    await storage.restart()
    assert.equal(await storage.mailboxes.lastTime(), 2e12)
  },
}

const seqsChecks: Checks<TestedStorage> = {
  'keep rising after every message was removed and its space was reused': async (storage) => {
    assert.equal(await storage.mailboxes.lastSeq(), 0)
    for (let round = 0; round < 20; round++) {
      const { mailboxes } = storage
      const numbers = upTo(50).map((number) => round * 50 + number)
      await Promise.all(numbers.map((number) => append(mailboxes, long(number, 100), ['bob'], roomy)))
      await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
      await mailboxes.expire(round * 50 + 50, 0, round * 50 + 50)
      assert.equal(await mailboxes.lastSeq(), (round + 1) * 50)
      assert.deepEqual(await mailboxes.levels(), [])
      if (round % 5 === 4) await storage.restart()
    }
    assert.equal(await storage.mailboxes.lastSeq(), 1_000)
    await post(storage.mailboxes, [2_000])
    assert.deepEqual(await seqsOf(storage.mailboxes, 'bob'), [1_001])
  },
}

const failedMailFlushChecks: Checks<TestedStorage> = {
  'acknowledges nothing, shows nothing, and keeps all durable messages': async (storage) => {
    const { mailboxes } = storage
    const users = ['bob', 'eve']
    await post(mailboxes, upTo(3), users)
    {
      using _ = await storage.place.failFlushes?.()
      const failed = { code: 'internal' }
      const calls = [
        append(mailboxes, message(4), users, roomy),
        append(mailboxes, message(4), users, roomy),
        mailboxes.remove('bob', [1]),
        mailboxes.remove('bob', [1]),
        mailboxes.setAside('bob', [2]),
        mailboxes.return('bob', [2], 9),
        mailboxes.expire(50, 2, 2),
      ]
      await Promise.all(calls.map((call) => assert.rejects(call, failed)))
      await assert.rejects(append(mailboxes, message(5), ['bob'], roomy), failed)
      for (const user of users) assert.deepEqual(await waiting(mailboxes, user), [1, 2, 3])
      assert.deepEqual([await mailboxes.lastSeq(), await mailboxes.lastTime()], [3, 3])
    }
    await storage.restart()
    // A message that failed with `internal` may be stored, for both recipients or for neither.
    const again = storage.mailboxes
    const [bob, eve] = [await waiting(again, 'bob'), await waiting(again, 'eve')]
    assert.equal(bob.includes(4), eve.includes(4))
    assert.ok(bob.includes(3) && eve.includes(3))
    await post(again, [4], users)
    await post(again, [5])
    assert.deepEqual((await waiting(again, 'bob')).slice(-3), [3, 4, 5])
    assert.deepEqual((await waiting(again, 'eve')).slice(-2), [3, 4])
  },
}

/** The promises of `MailboxStore`, except the limits of `append`. */
export const mailboxSuites: readonly StorageSuite[] = [
  ['a message that is appended to the mailboxes of a storage', appendingChecks],
  ['the repetition of a message to a storage', repetitionChecks],
  ['reading a mailbox of a storage', readingChecks],
  ['a message that is removed from a mailbox of a storage', removingChecks],
  ['a message that is set aside in a storage', settingAsideChecks],
  ['a message of a storage that was set aside', returningChecks],
  ['time in a storage', timeChecks],
  ['seqs in a storage', seqsChecks],
  ['a failed flush of messages in a storage', failedMailFlushChecks, 'failingLocation'],
]
