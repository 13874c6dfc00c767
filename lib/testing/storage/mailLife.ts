import assert from 'node:assert/strict'
import { type Checks, upTo } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { all, long, message, messageNumbersOf, post, roomy, seqsOf, waiting } from './mailSteps.ts'

/** The promises of `MailboxStore.read`. */
export const readingChecks: Checks<TestedStorage> = {
  'returns pages of limited messages and bytes, but at least one message': async ({ mailboxes }) => {
    for (const number of upTo(6)) await mailboxes.append(long(number, number * 100), ['bob'], roomy)
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
    const numbers = upTo(300)
    const appends = numbers.map((number) => mailboxes.append(long(number, 30_000), [recipientOf(number)], roomy))
    await Promise.all(appends)
    for (const user of users) {
      const found = await all(mailboxes, user)
      const own = numbers.filter((number) => recipientOf(number) === user)
      assert.deepEqual(messageNumbersOf(found), own)
      assert.ok(found.every(({ content }) => content.length === 30_000))
    }
  },
}

/** The promises of `MailboxStore.remove`. */
export const removingChecks: Checks<TestedStorage> = {
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

/** The promises of `MailboxStore.setAside`. */
export const settingAsideChecks: Checks<TestedStorage> = {
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

/** The promises of `MailboxStore.expire` and `lastTime`. */
export const timeChecks: Checks<TestedStorage> = {
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
    await mailboxes.append(message(3, { storedAt: 100 }), ['bob'], roomy)
    await mailboxes.append(message(2, { storedAt: 100 }), ['bob'], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [4, 5, 2])
  },
  'is remembered, with a message or without one': async (storage) => {
    assert.equal(await storage.mailboxes.lastTime(), 0)
    await storage.mailboxes.append(message(1, { storedAt: 1e12 + 0.5 }), ['bob'], roomy)
    assert.equal(await storage.mailboxes.lastTime(), 1e12 + 0.5)
    await storage.restart()
    assert.equal(await storage.mailboxes.lastTime(), 1e12 + 0.5)
    await storage.mailboxes.expire(2e12, 0, 0)
    await storage.restart()
    assert.equal(await storage.mailboxes.lastTime(), 2e12)
  },
}

/** The promises of `MailboxStore.lastSeq`. */
export const seqsChecks: Checks<TestedStorage> = {
  'keep rising after every message was removed and its space was reused': async (storage) => {
    assert.equal(await storage.mailboxes.lastSeq(), 0)
    for (let round = 0; round < 20; round++) {
      const { mailboxes } = storage
      const numbers = upTo(50).map((number) => round * 50 + number)
      await Promise.all(numbers.map((number) => mailboxes.append(long(number, 100), ['bob'], roomy)))
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
