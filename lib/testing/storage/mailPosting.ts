import assert from 'node:assert/strict'
import { type Checks, upTo } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { all, long, message, post, roomy, seqsOf, waiting } from './mailSteps.ts'

/** The promises of `MailboxStore.append`, except its limits. */
export const appendingChecks: Checks<TestedStorage> = {
  'is returned as it was appended, now and after a restart': async (storage) => {
    const given = message(1, { content: Uint8Array.of(0, 255, 10), sender: 'élise', sentAt: 1.7e12 + 1 })
    await storage.mailboxes.append(given, ['bob'], roomy)
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
    await storage.mailboxes.append(message(1), users, roomy)
    await storage.restart()
    for (const user of users) assert.deepEqual(await seqsOf(storage.mailboxes, user), [1])
    const levels = await storage.mailboxes.levels()
    const reached = levels.map(({ user }) => user)
    assert.deepEqual(reached, users.toSorted())
  },
  'may be empty, and may have no recipient': async ({ mailboxes }) => {
    await mailboxes.append(long(1, 0), ['bob'], roomy)
    await mailboxes.append(message(2), [], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
  },
  'follows all messages that were appended before it, also under concurrent appends': async (storage) => {
    const { mailboxes } = storage
    await Promise.all(upTo(500).map((number) => mailboxes.append(message(number), ['bob'], roomy)))
    assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(500))
    await storage.restart()
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), upTo(500))
    const seqs = await seqsOf(storage.mailboxes, 'bob')
    const rising = seqs.toSorted((a, b) => a - b)
    assert.deepEqual(seqs, rising)
    assert.equal(new Set(seqs).size, 500)
  },
  'is announced to watchers when it can be read': async ({ mailboxes }) => {
    const seen: string[] = []
    const reading: Promise<number[]>[] = []
    {
      using _ = mailboxes.watch((user) => {
        seen.push(user)
        reading.push(waiting(mailboxes, user))
      })
      await post(mailboxes, [1], ['bob', 'eve'])
    }
    await post(mailboxes, [2])
    assert.deepEqual(seen.sort(), ['bob', 'eve'])
    assert.deepEqual(await Promise.all(reading), [[1], [1]])
  },
  'is refused by a storage that is closed': async (storage) => {
    const { mailboxes } = storage
    await storage.close()
    await assert.rejects(mailboxes.append(message(1), ['bob'], roomy), { code: 'closed' })
    await assert.rejects(mailboxes.read('bob', 0, 1, 1), { code: 'closed' })
  },
}

/** The promises of `MailboxStore.append` about an id that was used before. */
export const repetitionChecks: Checks<TestedStorage> = {
  'stores nothing while the first is being stored, later, and after a restart': async (storage) => {
    const { mailboxes } = storage
    const users = ['bob', 'eve']
    await Promise.all([1, 1, 2, 1].map((number) => mailboxes.append(message(number), users, roomy)))
    await post(mailboxes, [2], users)
    await storage.restart()
    await storage.mailboxes.append(message(1, { storedAt: 99 }), users, roomy)
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
        mailboxes.append(long(1, 9), ['bob', 'eve'], roomy),
        mailboxes.append(message(1), ['eve', 'bob'], roomy),
        mailboxes.append(message(1), ['bob'], roomy),
      ]
      await Promise.all(others.map((other) => assert.rejects(other, { code: 'id-reused' })))
      await first
      await storage.restart()
    }
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [1])
  },
  'is a new message if another user sends it': async ({ mailboxes }) => {
    await post(mailboxes, [1])
    await mailboxes.append(message(1, { sender: 'eve', content: new Uint8Array(1) }), ['bob'], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 1])
  },
  'fails with the first one, and can then be stored itself': async ({ mailboxes }) => {
    await post(mailboxes, [1])
    const tight = { ...roomy, messages: 1 }
    await assert.rejects(mailboxes.append(message(2), ['bob'], tight), { code: 'mailbox-full' })
    await mailboxes.append(message(2, { content: new Uint8Array(3) }), ['bob', 'eve'], roomy)
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 2])
  },
}
