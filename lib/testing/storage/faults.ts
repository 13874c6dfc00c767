import assert from 'node:assert/strict'
import { type Checks, upTo } from '../testCases.ts'
import type { TestedStorage } from './fixture.ts'
import { message, post, roomy, waiting } from './mailSteps.ts'
import { claimed, contentOf, fill, hello, opened, resume, textBytes } from './steps.ts'

/** The promises of a full storage. */
export const fullChecks: Checks<TestedStorage> = {
  'refuses bytes that do not fit, keeps the others, and continues when there is space again': async (storage) => {
    const other = await claimed(storage, { name: 'b' })
    await fill(storage, other.claim, new Uint8Array(1_500_000))
    const { claim, file } = await opened(storage, {}, hello)
    const { free } = await storage.files.space()
    await assert.rejects(file.write(5, [new Uint8Array(4_000_000)]), { code: 'disk-full' })
    assert.deepEqual([file.length, (await storage.files.space()).free], [5, free])
    await storage.transfers.remove('alice', 'b')
    await storage.files.remove('alice', 'b')
    await file.write(5, [new Uint8Array(1_000_000).fill(33)])
    await file.flush()
    assert.equal(file.length, 1_000_005)
    assert.equal((await contentOf(storage, claim)).slice(0, 7), 'hello!!')
  },
  'has less free space with each message': async (storage) => {
    const before = await storage.files.space()
    assert.ok(before.free <= before.total && before.total <= 4_100_000)
    await opened(storage, {}, new Uint8Array(1_000_000))
    assert.ok((await storage.files.space()).free <= before.free - 1_000_000)
    const held = await storage.files.heldBytes('alice', 'a')
    assert.ok(held >= 1_000_000 && held < 1_000_000 + 2 * before.blockBytes, `${held}`)
    assert.equal(await storage.files.heldBytes('alice', 'none'), 0)
  },
}

/** The promises of a partial file after a failed flush. */
export const failedFlushChecks: Checks<TestedStorage> = {
  'rejects, and keeps the bytes of earlier flushes': async (storage) => {
    const size = 'hello and more'.length
    const { claim, file } = await opened(storage, { size }, hello)
    const digest = Uint8Array.of(1)
    await storage.transfers.checkpoint(claim, [{ offset: hello.length, digest }], 2_000_000)
    await file.write(hello.length, [textBytes(' and more')])
    {
      using _ = await storage.place.failFlushes?.()
      await assert.rejects(file.flush(), { code: 'internal' })
    }
    await file[Symbol.asyncDispose]()
    await storage.restart()
    const again = await claimed(storage, { size }, resume)
    const offsets = again.record.checkpoints.map(({ offset }) => offset)
    assert.deepEqual(offsets, [hello.length])
    assert.equal((await contentOf(storage, again.claim)).slice(0, hello.length), 'hello')
  },
}

/** The promises of mailboxes after a failed flush. */
export const failedMailFlushChecks: Checks<TestedStorage> = {
  'acknowledges nothing, shows nothing, and keeps all durable messages': async (storage) => {
    const { mailboxes } = storage
    const users = ['bob', 'eve']
    await post(mailboxes, upTo(3), users)
    const seen: string[] = []
    {
      using _ = await storage.place.failFlushes?.()
      using __ = mailboxes.watch((user) => seen.push(user))
      const failed = { code: 'internal' }
      const calls = [
        mailboxes.append(message(4), users, roomy),
        mailboxes.append(message(4), users, roomy),
        mailboxes.remove('bob', [1]),
        mailboxes.remove('bob', [1]),
        mailboxes.setAside('bob', [2]),
        mailboxes.expire(50, 2, 2),
      ]
      await Promise.all(calls.map((call) => assert.rejects(call, failed)))
      await assert.rejects(mailboxes.append(message(5), ['bob'], roomy), failed)
      for (const user of users) assert.deepEqual(await waiting(mailboxes, user), [1, 2, 3])
      assert.deepEqual(seen, [])
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
