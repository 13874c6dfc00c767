import assert from 'node:assert/strict'
import type { MailboxBounds, MailboxStore } from '../../ports/mailboxes.ts'
import type { TestCases } from '../testCases.ts'
import { type StorageIt, storageCases, type Try } from './fixture.ts'
import { long, message, roomy, seqsOf, upTo, waiting } from './mailSteps.ts'

/** The limits of `MailboxStore.append`. */
export function* mailBoundsCases(kind: string, trying: Try, unfilled?: string): TestCases {
  const full = (...recipients: string[]) => ({ code: 'mailbox-full', recipients })

  yield* storageCases(`the limits of mailboxes in a ${kind} storage`, trying, (it) => {
    it('apply to the messages of one mailbox and name the full ones; a refused message reaches no recipient', async ({
      storage: { mailboxes },
    }) => {
      const bounds = { ...roomy, messages: 2 }
      for (const number of [1, 2]) await mailboxes.append(message(number), ['bob', 'eve'], bounds)
      const refused = mailboxes.append(message(3), ['carol', 'eve', 'dave', 'bob'], bounds)
      await assert.rejects(refused, full('eve', 'bob'))
      assert.deepEqual(await waiting(mailboxes, 'carol'), [])
      await mailboxes.append(message(3), ['carol', 'dave'], bounds)
      await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
      await mailboxes.append(message(4), ['bob'], bounds)
    })

    it('apply to the bytes of one mailbox', async ({ storage: { mailboxes } }) => {
      const bounds = { ...roomy, bytes: 100 }
      await mailboxes.append(long(1, 60), ['bob'], bounds)
      await assert.rejects(mailboxes.append(long(2, 41), ['bob', 'eve'], bounds), full('bob'))
      await mailboxes.append(long(3, 40), ['bob', 'eve'], bounds)
    })

    it('apply to the messages of all mailboxes, counted once for each recipient, and then affect every recipient', async ({
      storage: { mailboxes },
    }) => {
      const bounds = { ...roomy, allMessages: 3 }
      await mailboxes.append(message(1), ['bob', 'eve'], bounds)
      await assert.rejects(mailboxes.append(message(2), ['carol', 'bob'], bounds), full('carol', 'bob'))
      await mailboxes.append(message(3), ['carol'], bounds)
    })

    it('count messages that are being stored, that were set aside, and that were stored before a restart', async (fixture) => {
      const bounds = { ...roomy, messages: 2, bytes: 100 }
      const { mailboxes } = fixture.storage
      const first = mailboxes.append(long(1, 50), ['bob'], bounds)
      await assert.rejects(mailboxes.append(long(2, 51), ['bob'], bounds), full('bob'))
      await first
      await mailboxes.setAside('bob', await seqsOf(mailboxes, 'bob'))
      await mailboxes.append(long(3, 50), ['bob'], bounds)
      assert.deepEqual(await mailboxes.levels(), [{ user: 'bob', messages: 2, bytes: 100 }])
      await fixture.restart()
      assert.deepEqual(await fixture.storage.mailboxes.levels(), [{ user: 'bob', messages: 2, bytes: 100 }])
      await assert.rejects(fixture.storage.mailboxes.append(long(4, 0), ['bob'], bounds), full('bob'))
    })

    it('free space at once after a removal', async ({ storage: { mailboxes } }) => {
      const bounds = { ...roomy, messages: 1 }
      await mailboxes.append(message(1), ['bob'], bounds)
      await Promise.all([mailboxes.remove('bob', [1]), mailboxes.append(message(2), ['bob'], bounds)])
      assert.deepEqual(await waiting(mailboxes, 'bob'), [2])
    })

    it('apply to the ids of one sender and of all, including those being stored; a repetition does not count', async ({
      storage: { mailboxes },
    }) => {
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
    })

    it('are checked in this order: the id, the number of ids, the mailboxes, the disk', async ({
      storage: { mailboxes },
    }) => {
      const none = { ...roomy, messages: 0, senderIds: 0, reserveBytes: Number.MAX_SAFE_INTEGER }
      await mailboxes.append(message(1), ['bob'], roomy)
      await mailboxes.append(message(1), ['bob'], none)
      await assert.rejects(mailboxes.append(message(1), ['eve'], none), { code: 'id-reused' })
      await assert.rejects(mailboxes.append(message(2), ['bob'], none), { code: 'rate-limited' })
      await assert.rejects(mailboxes.append(message(2), ['bob'], { ...none, senderIds: 9 }), full('bob'))
      const reserving = { ...roomy, reserveBytes: Number.MAX_SAFE_INTEGER }
      await assert.rejects(mailboxes.append(message(2), ['bob'], reserving), { code: 'disk-full' })
      assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
    })
  })

  yield* storageCases(`the share of one sender in the mailboxes of a ${kind} storage`, trying, (it) => sharesCases(it))

  yield* storageCases(
    `mailboxes in a ${kind} storage without free space`,
    trying,
    (it) => {
      it('leave the reserve free, so that messages can still be removed', async (fixture) => {
        const { mailboxes } = fixture.storage
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
        await fixture.restart()
        assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), [])
      }, 3_000_000)

      it('leave other senders as much of the free disk as one sender uses', async (fixture) => {
        const { mailboxes } = fixture.storage
        const given = upTo(60).map((number) => mailboxes.append(long(number, 60_000), ['bob'], halves))
        const outcomes = await Promise.allSettled(given)
        const stored = outcomes.filter(({ status }) => status === 'fulfilled').length
        assert.ok(stored > 5 && stored < 28, `${stored} of 60 messages were stored`)
        await fixture.restart()
        const again = fixture.storage.mailboxes
        await assert.rejects(again.append(long(61, 60_000), ['bob'], halves), {
          code: 'disk-full',
          publicText: /^the waiting messages of one sender must leave space on the disk/u,
        })
        await again.append({ ...long(62, 60_000), sender: 'eve' }, ['bob'], halves)
      }, 3_000_000)

      it('refuse messages that do not fit, keep the others, and accept more when there is space again', async (fixture) => {
        const stored: number[] = []
        const fill = async () => {
          for (let number = 1; ; number++) {
            await fixture.storage.mailboxes.append(long(number, 50_000), ['bob'], roomy)
            stored.push(number)
          }
        }
        await assert.rejects(fill(), { code: 'disk-full' })
        assert.deepEqual(await waiting(fixture.storage.mailboxes, 'bob'), stored)
        await fixture.restart()
        const { mailboxes } = fixture.storage
        assert.deepEqual(await waiting(mailboxes, 'bob'), stored)
      }, 2_000_000)
    },
    unfilled,
  )
}

/** A sender that is alone gets half. */
const halves: MailboxBounds = { ...roomy, sharePercent: 50 }

/** Appends messages of a sender, numbered from `from`, until one is refused. Resolves with how many were accepted. */
async function fill(
  mailboxes: MailboxStore,
  sender: string,
  bounds: MailboxBounds,
  recipientsOf: (number: number) => readonly string[],
  code: string,
  from = 1,
): Promise<number> {
  for (let number = from; ; number++) {
    try {
      await mailboxes.append(message(number, { sender }), recipientsOf(number), bounds)
    } catch (error) {
      assert.equal((error as { code?: string }).code, code)
      return number - from
    }
  }
}

/** The number of messages out of a hundred that each of four users can store, one after another. */
const greedy = ['ann', 'ben', 'cem', 'dan']
const shares = [50, 25, 12, 6]

function sharesCases(it: StorageIt): void {
  it('equals the rest: a sender to many recipients leaves space for others, also after a restart', async (fixture) => {
    const bounds = { ...halves, allMessages: 100 }
    const sixteen = upTo(16).map((number) => `user ${number}`)
    const { mailboxes } = fixture.storage
    assert.equal(await fill(mailboxes, 'alice', bounds, () => sixteen, 'mailbox-full'), 3)
    await assert.rejects(mailboxes.append(message(4), ['bob', ...sixteen.slice(1)], bounds), {
      code: 'mailbox-full',
      recipients: ['bob', ...sixteen.slice(1)],
      message:
        /^the waiting messages of alice .* the share of one sender; try again after .*: no space in the mailbox of bob, user 2, /u,
    })
    await mailboxes.append(message(1, { sender: 'eve' }), ['bob'], bounds)
    await fixture.restart()
    const again = fixture.storage.mailboxes
    await assert.rejects(again.append(message(4), sixteen, bounds), { code: 'mailbox-full' })
    assert.equal(await fill(again, 'eve', bounds, () => ['bob'], 'mailbox-full', 2), 25)
  })

  it('applies to each of several senders, and leaves as much free', async ({ storage: { mailboxes } }) => {
    const bounds = { ...halves, allMessages: 100 }
    const taken: number[] = []
    for (const sender of greedy) taken.push(await fill(mailboxes, sender, bounds, () => ['bob'], 'mailbox-full'))
    assert.deepEqual(taken, shares)
    for (const sender of ['eve', 'fay', 'gus']) await mailboxes.append(message(1, { sender }), ['bob'], bounds)
  })

  it('applies to the messages and the bytes of one mailbox', async ({ storage: { mailboxes } }) => {
    const bounds = { ...halves, messages: 10 }
    assert.equal(await fill(mailboxes, 'alice', bounds, () => ['bob'], 'mailbox-full'), 5)
    await assert.rejects(mailboxes.append(message(6), ['carol', 'bob'], bounds), {
      recipients: ['bob'],
      message:
        /^the waiting messages of alice .* the share of one sender; try again after .*: no space in the mailbox of bob$/u,
    })
    assert.equal(await fill(mailboxes, 'eve', bounds, () => ['bob'], 'mailbox-full'), 2)
    const narrow = { ...halves, bytes: 1_000 }
    await mailboxes.append(long(11, 500), ['dave'], narrow)
    await assert.rejects(mailboxes.append(long(12, 1), ['dave'], narrow), { code: 'mailbox-full' })
    await mailboxes.append({ ...long(13, 250), sender: 'eve' }, ['dave'], narrow)
  })

  it('applies to message ids, also after a restart', async (fixture) => {
    const bounds = { ...halves, allIds: 100 }
    const taken: number[] = []
    for (const sender of greedy.slice(0, 2)) {
      taken.push(await fill(fixture.storage.mailboxes, sender, bounds, () => [sender], 'rate-limited'))
    }
    for (const user of greedy.slice(0, 2)) {
      const { mailboxes } = fixture.storage
      await mailboxes.remove(user, await seqsOf(mailboxes, user))
    }
    await fixture.restart()
    const { mailboxes } = fixture.storage
    for (const sender of greedy.slice(2)) {
      taken.push(await fill(mailboxes, sender, bounds, () => [sender], 'rate-limited'))
    }
    assert.deepEqual(taken, shares)
    await mailboxes.append(message(1, { sender: 'eve' }), ['bob'], bounds)
  })

  it('counts messages that were set aside, but not those that were removed or have expired', async ({
    storage: { mailboxes },
  }) => {
    const bounds = { ...halves, allMessages: 8, messages: 8 }
    assert.equal(await fill(mailboxes, 'alice', bounds, () => ['bob'], 'mailbox-full'), 4)
    const [first = 0, second = 0] = await seqsOf(mailboxes, 'bob')
    await mailboxes.setAside('bob', [first])
    await assert.rejects(mailboxes.append(message(5), ['bob'], bounds), { code: 'mailbox-full' })
    await mailboxes.remove('bob', [first, second])
    assert.equal(await fill(mailboxes, 'alice', bounds, () => ['bob'], 'mailbox-full', 5), 2)
    await mailboxes.expire(100, 5, 0)
    assert.equal(await fill(mailboxes, 'alice', bounds, () => ['bob'], 'mailbox-full', 7), 2)
  })

  it('lets a sender without messages use the free space, and no sender more than that', async ({
    storage: { mailboxes },
  }) => {
    const bounds = { ...halves, messages: 2 }
    await mailboxes.append(message(1), ['bob'], bounds)
    await assert.rejects(mailboxes.append(message(2), ['bob'], bounds), { code: 'mailbox-full' })
    await mailboxes.append(message(1, { sender: 'eve' }), ['bob'], bounds)
    await assert.rejects(mailboxes.append(message(1, { sender: 'fay' }), ['bob'], bounds), {
      message: 'no space in the mailbox of bob',
    })
  })
}
