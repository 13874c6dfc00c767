import assert from 'node:assert/strict'
import { type Checks, upTo } from '../../../../lib/testing/testCases.ts'
import {
  boundsChecks,
  listenChecks,
  loadChecks,
  type MailFixture,
  mailServer,
  numbered,
  postChecks,
  readChecks,
} from './mail.ts'

const expiryChecks: Checks<MailFixture> = {
  'expire at the end of their time to live': async (store) => {
    const { mail, server, post, waiting } = await mailServer(store)
    const limited = (number: number, expiresAt: number) => numbered(number, ['bob', 'eve'], { expiresAt })
    await post([numbered(1, ['bob']), limited(2, 1_002), limited(3, 1_003), numbered(4, ['bob'])])
    assert.deepEqual(await post([limited(3, 9_999)]), [undefined])
    const [found = []] = await mail.read([{ user: 'bob', afterSeq: 0 }], 10, 10_000)
    assert.deepEqual(
      found.map(({ expiresAt }) => expiresAt),
      [undefined, 1_002, 1_003, undefined],
    )
    const { expired, isDone } = await mail.expire(server, 0, 0, 100, 1_002)
    const counts = Object.fromEntries(expired.map(({ user, messages }) => [user, messages]))
    assert.deepEqual([counts, isDone], [{ bob: 1, eve: 1 }, true])
    assert.deepEqual([await waiting('bob'), await waiting('eve')], [[1, 3, 4], [3]])
  },
  'of users who listen at no server expire at their time, which a poll finds': async (store) => {
    const { mail, post, seqsOf, server, link } = await mailServer(store)
    const limited = (number: number, to: string, expiresAt?: number) => numbered(number, [to], { expiresAt })
    await post([limited(1, 'bob', 2_000), limited(2, 'bob', 1_000), limited(3, 'eve', 500), limited(4, 'bob')])
    const { epoch } = await mail.listen(link('eve', 1))
    assert.equal((await mail.poll(server, [])).nextExpiry, 1_000)
    assert.deepEqual(await mail.expireOverdue(server, 999, 100), { expired: [], receipts: [] })
    const first = await mail.expireOverdue(server, 1_000, 100)
    assert.deepEqual(first, { expired: [{ user: 'bob', messages: 1 }], receipts: [] })
    assert.equal((await mail.poll(server, [])).nextExpiry, 2_000)
    await mail.unlisten({ user: 'eve', device: '' }, epoch, 0)
    assert.equal((await mail.poll(server, [])).nextExpiry, 500)
    const { expired } = await mail.expireOverdue(server, 2_000, 100)
    assert.deepEqual(
      expired.toSorted((a, b) => (a.user < b.user ? -1 : 1)),
      [
        { user: 'bob', messages: 1 },
        { user: 'eve', messages: 1 },
      ],
    )
    assert.deepEqual([(await seqsOf('bob')).length, (await seqsOf('eve')).length], [1, 0])
    assert.deepEqual(await mail.poll(server, []), { listened: [], replaced: [], hasDevices: false })
  },
  'expire in parts, and so do ids': async (store) => {
    const { mail, server, post, waiting, seqsOf } = await mailServer(store)
    const content = new Uint8Array(3_000)
    await post(upTo(20).map((number) => numbered(number, number % 2 > 0 ? ['bob', 'eve'] : ['bob'], { content })))
    await mail.setAside(server, [{ user: 'bob', seqs: (await seqsOf('bob')).slice(0, 1) }])
    const counts: Record<string, number> = {}
    let parts = 0
    for (let isDone = false; !isDone; parts++) {
      const part = await mail.expire(server, 11, 6, 4)
      for (const { user, messages } of part.expired) counts[user] = (counts[user] ?? 0) + messages
      isDone = part.isDone
    }
    assert.ok(parts > 2, `${parts} parts`)
    assert.deepEqual(counts, { bob: 10, eve: 5 })
    assert.deepEqual(await waiting('bob'), upTo(20).slice(10))
    const other = { content: Uint8Array.of(1) }
    const reused = [numbered(5, ['bob'], other), numbered(6, ['bob'], other)]
    assert.deepEqual(await post(reused), [undefined, 'id-reused'])
  },
}

export const mailSuites: readonly (readonly [subject: string, Checks<MailFixture>])[] = [
  ['messages in a shared store', postChecks],
  ['the bounds of mailboxes in a shared store', boundsChecks],
  ['waiting messages in a shared store', readChecks],
  ['waiting messages in a shared store', expiryChecks],
  ['registrations in a shared store', listenChecks],
  ['many messages in a shared store', loadChecks],
]
