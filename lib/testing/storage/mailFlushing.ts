import assert from 'node:assert/strict'
import type { TestCases } from '../testCases.ts'
import { type FailingStorageLocation, storageCases, type Try } from './fixture.ts'
import { message, roomy, upTo, waiting } from './mailSteps.ts'

/** The promises of mailboxes after a failed flush. */
export function mailFlushingCases(kind: string, trying: Try<FailingStorageLocation>, skipped?: string): TestCases {
  return storageCases(
    `a failed flush of messages in a ${kind} storage`,
    trying,
    (it) => {
      it('acknowledges nothing, shows nothing, and keeps all durable messages', async (fixture) => {
        const { mailboxes } = fixture.storage
        for (const number of upTo(3)) await mailboxes.append(message(number), ['bob', 'eve'], roomy)
        const seen: string[] = []
        {
          using _ = await fixture.place.failFlushes()
          using __ = mailboxes.watch((user) => seen.push(user))
          const broken = { code: 'internal' }
          const asked = [
            mailboxes.append(message(4), ['bob', 'eve'], roomy),
            mailboxes.append(message(4), ['bob', 'eve'], roomy),
            mailboxes.remove('bob', [1]),
            mailboxes.remove('bob', [1]),
            mailboxes.setAside('bob', [2]),
            mailboxes.expire(50, 2, 2),
          ]
          await Promise.all(asked.map((each) => assert.rejects(each, broken)))
          await assert.rejects(mailboxes.append(message(5), ['bob'], roomy), broken)
          assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 2, 3])
          assert.deepEqual(await waiting(mailboxes, 'eve'), [1, 2, 3])
          assert.deepEqual(seen, [])
          assert.deepEqual([await mailboxes.lastSeq(), await mailboxes.lastTime()], [3, 3])
        }
        await fixture.restart()
        // A message that failed with `internal` may be stored, for both recipients or for neither.
        const again = fixture.storage.mailboxes
        const [bob, eve] = [await waiting(again, 'bob'), await waiting(again, 'eve')]
        assert.equal(bob.includes(4), eve.includes(4))
        assert.ok(bob.includes(3) && eve.includes(3))
        await again.append(message(4), ['bob', 'eve'], roomy)
        await again.append(message(5), ['bob'], roomy)
        assert.deepEqual((await waiting(again, 'bob')).slice(-3), [3, 4, 5])
        assert.deepEqual((await waiting(again, 'eve')).slice(-2), [3, 4])
      })
    },
    skipped,
  )
}
