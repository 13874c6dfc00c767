import assert from 'node:assert/strict'
import type { MailboxBounds } from '../../ports/mailboxes.ts'
import type { TestCases } from '../testCases.ts'
import { storageCases, type Try } from './fixture.ts'
import { all, long, message, roomy, upTo, waiting } from './mailSteps.ts'

/** The promises of `MailboxStore.append`, except its limits. */
export function* mailPostingCases(kind: string, trying: Try): TestCases {
  yield* storageCases(`a message that is appended to the mailboxes of a ${kind} storage`, trying, (it) => {
    it('is returned as it was appended, now and after a restart', async (fixture) => {
      const given = message(1, { content: Uint8Array.of(0, 255, 10), sender: 'élise', sentAt: 1.7e12 + 1 })
      await fixture.storage.mailboxes.append(given, ['bob'], roomy)
      for (const _ of ['at once', 'after a restart']) {
        const [found, ...others] = await all(fixture.storage.mailboxes, 'bob')
        assert.ok(found)
        const { seq, sender, sentAt, id, content } = found
        assert.deepEqual([seq, sender, sentAt, others.length], [1, 'élise', given.sentAt, 0])
        assert.deepEqual([Uint8Array.from(id), Uint8Array.from(content)], [given.id, given.content])
        await fixture.restart()
      }
    })

    it('reaches all of sixteen recipients with one seq, and no other user', async (fixture) => {
      const users = upTo(16).map((number) => `user ${number}`)
      await fixture.storage.mailboxes.append(message(1), users, roomy)
      await fixture.restart()
      const { mailboxes } = fixture.storage
      for (const user of users) {
        assert.deepEqual(
          (await all(mailboxes, user)).map(({ seq }) => seq),
          [1],
        )
      }
      assert.deepEqual(
        (await mailboxes.levels()).map(({ user }) => user),
        users.toSorted(),
      )
    })

    it('may be empty, and may have no recipient', async ({ storage: { mailboxes } }) => {
      await mailboxes.append(long(1, 0), ['bob'], roomy)
      await mailboxes.append(message(2), [], roomy)
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
    })

    it('follows all messages that were appended before it, also under concurrent appends', async (fixture) => {
      const { mailboxes } = fixture.storage
      await Promise.all(upTo(500).map((number) => mailboxes.append(message(number), ['bob'], roomy)))
      assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(500))
      await fixture.restart()
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), upTo(500))
      const seqs = (await all(fixture.storage.mailboxes, 'bob')).map(({ seq }) => seq)
      assert.deepEqual(
        seqs,
        seqs.toSorted((a, b) => a - b),
      )
      assert.equal(new Set(seqs).size, 500)
    })

    it('is announced to watchers when it can be read', async ({ storage: { mailboxes } }) => {
      const seen: string[] = []
      const reading: Promise<number[]>[] = []
      {
        using _ = mailboxes.watch((user) => {
          seen.push(user)
          reading.push(waiting(mailboxes, user))
        })
        await mailboxes.append(message(1), ['bob', 'eve'], roomy)
      }
      await mailboxes.append(message(2), ['bob'], roomy)
      assert.deepEqual(seen.sort(), ['bob', 'eve'])
      assert.deepEqual(await Promise.all(reading), [[1], [1]])
    })

    it('is refused by a storage that is closed', async ({ storage }) => {
      await storage[Symbol.asyncDispose]()
      await assert.rejects(storage.mailboxes.append(message(1), ['bob'], roomy), { code: 'closed' })
      await assert.rejects(storage.mailboxes.read('bob', 0, 1, 1), { code: 'closed' })
    })
  })

  yield* storageCases(`the repetition of a message to a ${kind} storage`, trying, (it) => {
    it('stores nothing while the first is being stored, later, and after a restart', async (fixture) => {
      const { mailboxes } = fixture.storage
      await Promise.all([1, 1, 2, 1].map((number) => mailboxes.append(message(number), ['bob', 'eve'], roomy)))
      await mailboxes.append(message(2), ['bob', 'eve'], roomy)
      await fixture.restart()
      await fixture.storage.mailboxes.append(message(1, { storedAt: 99 }), ['bob', 'eve'], roomy)
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), [1, 2])
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'eve'), [1, 2])
    })

    it('stores nothing when the message was removed from every mailbox', async (fixture) => {
      await fixture.storage.mailboxes.append(message(1), ['bob'], roomy)
      await fixture.storage.mailboxes.remove('bob', [1])
      await fixture.storage.mailboxes.append(message(1), ['bob'], roomy)
      await fixture.restart()
      await fixture.storage.mailboxes.append(message(1), ['bob'], roomy)
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), [])
    })

    it('with another content or other recipients is refused, also while the first is being stored', async (fixture) => {
      const first = fixture.storage.mailboxes.append(message(1), ['bob', 'eve'], roomy)
      for (const _ of ['on its way', 'durable', 'after a restart']) {
        const { mailboxes } = fixture.storage
        const others = [
          mailboxes.append(long(1, 9), ['bob', 'eve'], roomy),
          mailboxes.append(message(1), ['eve', 'bob'], roomy),
          mailboxes.append(message(1), ['bob'], roomy),
        ]
        for (const other of others) await assert.rejects(other, { code: 'id-reused' })
        await first
        await fixture.restart()
      }
      assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), [1])
    })

    it('is a new message if another user sends it', async ({ storage: { mailboxes } }) => {
      await mailboxes.append(message(1), ['bob'], roomy)
      await mailboxes.append(message(1, { sender: 'eve', content: new Uint8Array(1) }), ['bob'], roomy)
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 1])
    })

    it('fails with the first one, and can then be stored itself', async ({ storage: { mailboxes } }) => {
      const tight: MailboxBounds = { ...roomy, messages: 1 }
      await mailboxes.append(message(1), ['bob'], roomy)
      await assert.rejects(mailboxes.append(message(2), ['bob'], tight), { code: 'mailbox-full' })
      await mailboxes.append(message(2, { content: new Uint8Array(3) }), ['bob', 'eve'], roomy)
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 2])
    })
  })
}
