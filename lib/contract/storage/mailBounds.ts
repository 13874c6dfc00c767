import assert from 'node:assert/strict'
import { type Facts, factsOf } from '../facts.ts'
import { long, message, roomy, seqsOf, upTo, waiting } from './mailSteps.ts'
import type { Try } from './trial.ts'

/** The bounds of `MailboxStore.append`. */
export function* stateMailBounds(kind: string, trying: Try, unfilled?: string): Facts {
  const full = (...recipients: string[]) => ({ code: 'mailbox-full', recipients })

  yield* factsOf(`the bounds of mailboxes in a ${kind} storage`, (it) => {
    it(
      'are on messages of one mailbox, and name the full ones; nobody gets what is refused',
      trying(async ({ storage: { mailboxes } }) => {
        const bounds = { ...roomy, messages: 2 }
        for (const number of [1, 2]) await mailboxes.append(message(number), ['bob', 'eve'], bounds)
        const refused = mailboxes.append(message(3), ['carol', 'eve', 'dave', 'bob'], bounds)
        await assert.rejects(refused, full('eve', 'bob'))
        assert.deepEqual(await waiting(mailboxes, 'carol'), [])
        await mailboxes.append(message(3), ['carol', 'dave'], bounds)
        await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
        await mailboxes.append(message(4), ['bob'], bounds)
      }),
    )

    it(
      'are on bytes of one mailbox',
      trying(async ({ storage: { mailboxes } }) => {
        const bounds = { ...roomy, bytes: 100 }
        await mailboxes.append(long(1, 60), ['bob'], bounds)
        await assert.rejects(mailboxes.append(long(2, 41), ['bob', 'eve'], bounds), full('bob'))
        await mailboxes.append(long(3, 40), ['bob', 'eve'], bounds)
      }),
    )

    it(
      'are on messages of all, each as often as it waits, and concern every recipient then',
      trying(async ({ storage: { mailboxes } }) => {
        const bounds = { ...roomy, allMessages: 3 }
        await mailboxes.append(message(1), ['bob', 'eve'], bounds)
        await assert.rejects(mailboxes.append(message(2), ['carol', 'bob'], bounds), full('carol', 'bob'))
        await mailboxes.append(message(3), ['carol'], bounds)
      }),
    )

    it(
      'count what is on its way, what was set aside, and what was there before a restart',
      trying(async (trial) => {
        const bounds = { ...roomy, messages: 2, bytes: 100 }
        const { mailboxes } = trial.storage
        const first = mailboxes.append(long(1, 50), ['bob'], bounds)
        await assert.rejects(mailboxes.append(long(2, 51), ['bob'], bounds), full('bob'))
        await first
        await mailboxes.setAside('bob', await seqsOf(mailboxes, 'bob'))
        await mailboxes.append(long(3, 50), ['bob'], bounds)
        assert.deepEqual(await mailboxes.levels(), [{ user: 'bob', messages: 2, bytes: 100 }])
        await trial.restart()
        assert.deepEqual(await trial.storage.mailboxes.levels(), [{ user: 'bob', messages: 2, bytes: 100 }])
        await assert.rejects(trial.storage.mailboxes.append(long(4, 0), ['bob'], bounds), full('bob'))
      }),
    )

    it(
      'leave the room at once that a removal makes',
      trying(async ({ storage: { mailboxes } }) => {
        const bounds = { ...roomy, messages: 1 }
        await mailboxes.append(message(1), ['bob'], bounds)
        await Promise.all([mailboxes.remove('bob', [1]), mailboxes.append(message(2), ['bob'], bounds)])
        assert.deepEqual(await waiting(mailboxes, 'bob'), [2])
      }),
    )

    it(
      'are on ids of one sender and of all, with those on their way; a repetition is none',
      trying(async ({ storage: { mailboxes } }) => {
        const bounds = { ...roomy, senderIds: 2, allIds: 3 }
        const limited = { code: 'rate-limited' }
        const given = [1, 2, 3, 1].map((number) => mailboxes.append(message(number), ['bob'], bounds))
        const outcomes = await Promise.allSettled(given)
        assert.deepEqual(
          outcomes.map(({ status }) => status),
          ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
        )
        await mailboxes.append(message(1, { sender: 'eve' }), ['bob'], bounds)
        await assert.rejects(mailboxes.append(message(1, { sender: 'carol' }), ['bob'], bounds), limited)
        await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
        await assert.rejects(mailboxes.append(message(3), ['bob'], bounds), limited)
        await mailboxes.append(message(2), ['bob'], bounds)
        await mailboxes.expire(100, 0, 2)
        await mailboxes.append(message(3), ['bob'], bounds)
      }),
    )

    it(
      'are asked in their order: the id, how many ids, the mailboxes, the disk',
      trying(async ({ storage: { mailboxes } }) => {
        const none = { ...roomy, messages: 0, senderIds: 0, reserveBytes: Number.MAX_SAFE_INTEGER }
        await mailboxes.append(message(1), ['bob'], roomy)
        await mailboxes.append(message(1), ['bob'], none)
        await assert.rejects(mailboxes.append(message(1), ['eve'], none), { code: 'id-reused' })
        await assert.rejects(mailboxes.append(message(2), ['bob'], none), { code: 'rate-limited' })
        await assert.rejects(mailboxes.append(message(2), ['bob'], { ...none, senderIds: 9 }), full('bob'))
        const reserving = { ...roomy, reserveBytes: Number.MAX_SAFE_INTEGER }
        await assert.rejects(mailboxes.append(message(2), ['bob'], reserving), { code: 'disk-full' })
        assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
      }),
    )
  })

  yield* factsOf(
    `mailboxes in a ${kind} storage that fills up`,
    (it) => {
      it(
        'leave the reserve free, in which messages are still removed',
        trying(async (trial) => {
          const { mailboxes } = trial.storage
          const bounds = { ...roomy, reserveBytes: 1_000_000 }
          const given = upTo(60).map((number) => mailboxes.append(long(number, 60_000), ['bob'], bounds))
          const outcomes = await Promise.allSettled(given)
          const stored = outcomes.filter(({ status }) => status === 'fulfilled').length
          assert.ok(stored > 5 && stored < 55, `${stored} of 60 messages were stored`)
          for (const outcome of outcomes.slice(stored)) {
            assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'disk-full')
          }
          assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(stored))
          await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
          await trial.restart()
          assert.deepEqual(await waiting(trial.storage.mailboxes, 'bob'), [])
        }, 3_000_000),
      )

      it(
        'refuse what does not fit, keep what they have, and take in more when there is room again',
        trying(async (trial) => {
          const stored: number[] = []
          const fill = async () => {
            for (let number = 1; ; number++) {
              await trial.storage.mailboxes.append(long(number, 50_000), ['bob'], roomy)
              stored.push(number)
            }
          }
          await assert.rejects(fill(), { code: 'disk-full' })
          assert.deepEqual(await waiting(trial.storage.mailboxes, 'bob'), stored)
          await trial.restart()
          const { mailboxes } = trial.storage
          assert.deepEqual(await waiting(mailboxes, 'bob'), stored)
        }, 2_000_000),
      )
    },
    unfilled,
  )
}
