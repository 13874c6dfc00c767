import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { all, long, message, numbersOf, roomy, seqsOf, upTo, waiting } from './mailSteps.ts'

/** The promises of reading, removing, setting aside and expiring. */
export function* mailLifeCases(kind: string, trying: Try): TestCases {
  yield* storageCases(`reading a mailbox of a ${kind} storage`, trying, (it) => {
    it('returns pages of limited messages and bytes, but at least one message', async ({ storage: { mailboxes } }) => {
      for (const number of upTo(6)) await mailboxes.append(long(number, number * 100), ['bob'], roomy)
      const page = async (after: number, most: number, bytes: number) =>
        numbersOf(await mailboxes.read('bob', after, most, bytes))
      assert.deepEqual(await page(0, 2, 10_000), [1, 2])
      assert.deepEqual(await page(2, 10, 700), [3, 4])
      assert.deepEqual(await page(4, 10, 1), [5])
      assert.deepEqual(await page(5, 10, 10_000), [6])
      assert.deepEqual(await page(6, 10, 10_000), [])
      assert.deepEqual(await page(0, 0, 10_000), [])
      assert.deepEqual(numbersOf(await mailboxes.read('eve', 0, 10, 10_000)), [])
    })

    it('finds messages that are far apart, and old ones', async ({ storage: { mailboxes } }) => {
      const users = ['bob', 'eve', 'carol']
      const numbers = upTo(300)
      await Promise.all(
        numbers.map((number) => mailboxes.append(long(number, 30_000), [users[number % 3] ?? ''], roomy)),
      )
      for (const [rest, user] of users.entries()) {
        const found = await all(mailboxes, user)
        assert.deepEqual(
          numbersOf(found),
          numbers.filter((number) => number % 3 === rest),
        )
        for (const { content } of found) assert.equal(content.length, 30_000)
      }
    })
  })

  yield* storageCases(`a message that is removed from a mailbox of a ${kind} storage`, trying, (it) => {
    it('is gone from that mailbox only, now and after a restart', async (fixture) => {
      const { mailboxes } = fixture.storage
      for (const number of upTo(4)) await mailboxes.append(message(number), ['bob', 'eve'], roomy)
      await mailboxes.remove('bob', [3, 1, 99, 3])
      await mailboxes.remove('carol', [1])
      for (const _ of ['now', 'after a restart']) {
        assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), [2, 4])
        assert.deepEqual(await waiting(fixture.storage.mailboxes, 'eve'), [1, 2, 3, 4])
        await fixture.restart()
      }
    })

    it('is not returned any more as soon as the removal was requested', async ({ storage: { mailboxes } }) => {
      for (const number of upTo(3)) await mailboxes.append(message(number), ['bob'], roomy)
      const removing = mailboxes.remove('bob', [2])
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
      await Promise.all([removing, mailboxes.remove('bob', [2])])
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
    })
  })

  yield* storageCases(`a message that is set aside in a ${kind} storage`, trying, (it) => {
    it('is not returned, and stays until it expires or is removed', async (fixture) => {
      const { mailboxes } = fixture.storage
      for (const number of upTo(4)) await mailboxes.append(message(number), ['bob', 'eve'], roomy)
      await mailboxes.setAside('bob', [2, 3, 99])
      await mailboxes.setAside('carol', [1])
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 4])
      await fixture.restart()
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), [1, 4])
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'eve'), [1, 2, 3, 4])
      await fixture.storage.mailboxes.remove('bob', [2])
      const bytes = 3 * 'message 1'.length
      assert.deepEqual((await fixture.storage.mailboxes.levels())[0], { user: 'bob', messages: 3, bytes })
      const expired = await fixture.storage.mailboxes.expire(10, 4, 0)
      assert.deepEqual(
        expired.toSorted((a, b) => (a.user < b.user ? -1 : 1)),
        [
          { user: 'bob', messages: 2 },
          { user: 'eve', messages: 3 },
        ],
      )
    })
  })

  yield* storageCases(`time in a ${kind} storage`, trying, (it) => {
    it('expires messages by their age and ids by theirs, for good', async (fixture) => {
      const { mailboxes } = fixture.storage
      for (const number of upTo(5)) await mailboxes.append(message(number), ['bob'], roomy)
      await mailboxes.append(message(6), ['eve'], roomy)
      assert.deepEqual(await mailboxes.expire(100, 4, 3), [{ user: 'bob', messages: 3 }])
      assert.deepEqual(await mailboxes.expire(100, 4, 3), [])
      await fixture.restart()
      const again = fixture.storage.mailboxes
      assert.deepEqual(await waiting(again, 'bob'), [4, 5])
      assert.deepEqual(await again.expire(100, 4, 3), [])
      await again.append(message(3, { storedAt: 100 }), ['bob'], roomy)
      await again.append(message(2, { storedAt: 100 }), ['bob'], roomy)
      assert.deepEqual(await waiting(again, 'bob'), [4, 5, 2])
    })

    it('is remembered, with a message or without one', async (fixture) => {
      assert.equal(await fixture.storage.mailboxes.lastTime(), 0)
      await fixture.storage.mailboxes.append(message(1, { storedAt: 1e12 + 0.5 }), ['bob'], roomy)
      assert.equal(await fixture.storage.mailboxes.lastTime(), 1e12 + 0.5)
      await fixture.restart()
      assert.equal(await fixture.storage.mailboxes.lastTime(), 1e12 + 0.5)
      await fixture.storage.mailboxes.expire(2e12, 0, 0)
      await fixture.restart()
      assert.equal(await fixture.storage.mailboxes.lastTime(), 2e12)
    })
  })

  yield* storageCases(`seqs in a ${kind} storage`, trying, (it) => {
    it('keep rising after every message was removed and its space was reused', async (fixture) => {
      assert.equal(await fixture.storage.mailboxes.lastSeq(), 0)
      for (let round = 0; round < 20; round++) {
        const { mailboxes } = fixture.storage
        const numbers = upTo(50).map((number) => round * 50 + number)
        await Promise.all(numbers.map((number) => mailboxes.append(long(number, 100), ['bob'], roomy)))
        await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
        await mailboxes.expire(round * 50 + 50, 0, round * 50 + 50)
        assert.equal(await mailboxes.lastSeq(), (round + 1) * 50)
        assert.deepEqual(await mailboxes.levels(), [])
        if (round % 5 === 4) await fixture.restart()
      }
      assert.equal(await fixture.storage.mailboxes.lastSeq(), 1_000)
      await fixture.storage.mailboxes.append(message(2_000), ['bob'], roomy)
      assert.deepEqual(await seqsOf(fixture.storage.mailboxes, 'bob'), [1_001])
    })
  })
}
