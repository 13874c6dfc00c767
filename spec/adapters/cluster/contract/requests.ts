import assert from 'node:assert/strict'
import type { ClaimDecision, ClusterSessionLink } from '../../../../lib/adapters/cluster/steps.ts'
import { fixed } from '../../../../lib/limits.ts'
import type { AddressedMessage } from '../../../../lib/ports/mailboxes.ts'
import type { Announcement } from '../../../../lib/ports/storage.ts'
import { message, messageNumbersOf, roomy } from '../../../../lib/testing/storage/mailSteps.ts'
import { fileOf, wanted } from '../../../../lib/testing/storage/steps.ts'
import { type Checks, upTo } from '../../../../lib/testing/testCases.ts'
import { entered, newSession, type SharedStoreFixture, type TestedServer } from './fixture.ts'

const lost = { code: 'link-lost' }

/** Decides that a link gets a new record. */
const granted = (by: ClusterSessionLink) => async (): Promise<ClaimDecision> => {
  const owner = { node: by.link, instance: 1, session: by.session }
  return {
    record: { ...wanted, owner, superseded: [], checkpoints: [], updatedAt: 10 },
    reserved: { growth: 0, entries: 0 },
  }
}

/** Two servers, with a replaced link and the present one of the same session of alice. The present one has an upload. */
async function replaced(store: SharedStoreFixture) {
  const [first, second] = [await entered(store), await entered(store)]
  const session = newSession()
  const [former, present] = [first.link('alice', 1, session), second.link('alice', 2, session)]
  await first.steps.openSession(former, 1)
  await second.steps.openSession(present, 2)
  const claimed = await second.steps.transfers.claim(present, wanted, granted(present))
  assert.ok('claim' in claimed)
  return { first: first.steps.transfers, second: second.steps.transfers, servers: [first, second], former, present }
}

/** Two servers, and links of two programs of alice, the later one at the second server. They post to bob. */
async function twoPrograms(store: SharedStoreFixture) {
  const [first, second] = [await entered(store), await entered(store)]
  const [older, later] = [first.link('alice', 1), second.link('alice', 2)]
  await first.steps.openSession(older, 1)
  await second.steps.openSession(later, 1)
  return {
    older,
    later,
    /** Resolves with the codes of the refusals of these messages, if mailboxes have space for `space` messages. */
    async post(numbers: readonly number[], by: ClusterSessionLink, space = roomy.messages) {
      const { steps, server } = by.server === first.server ? first : second
      const messages = numbers.map((number) => ({ ...message(number), recipients: ['bob'] }))
      const bounds = { ...roomy, messages: space }
      const { outcomes } = await steps.mail.post(
        server,
        messages,
        bounds,
        messages.map(() => by),
      )
      return outcomes.map((outcome) => outcome?.code)
    },
    async waiting() {
      const [found = []] = await first.steps.mail.read([{ user: 'bob', afterSeq: 0 }], 99, 99_000)
      return messageNumbersOf(found)
    },
    /** Replaces the link of a session of the first server by another one. */
    async reopen(link: ClusterSessionLink) {
      const next = { ...link, link: 3 }
      await first.steps.openSession(next, 2)
      return next
    },
  }
}

const announced: Announcement = { file: fileOf(), version: 'v', modifiedAt: 1 }
const farAway = Number.MAX_SAFE_INTEGER

/** The promises about links that other links have replaced. */
export const requestChecks: Checks<SharedStoreFixture> = {
  'cannot announce a file, or remove or expire an upload': async (store) => {
    const { first, second, servers, former, present } = await replaced(store)
    const [{ server = 0 } = {}] = servers
    await assert.rejects(first.announce(server, [announced], farAway, former), lost)
    await assert.rejects(first.remove('alice', 'a', former), lost)
    await assert.rejects(first.expire('alice', 'a', farAway, former), lost)
    assert.equal(await second.marker('alice', 'a'), undefined)
    assert.equal((await second.record('alice', 'a'))?.owner.node, present.link)
  },
  'differs from the present link, which can remove an upload although it is held': async (store) => {
    const { first, second, present } = await replaced(store)
    assert.equal(await first.expire('alice', 'a', farAway), undefined)
    assert.equal((await second.expire('alice', 'a', farAway, present))?.name, 'a')
    assert.equal(await first.record('alice', 'a'), undefined)
    await second.announce(present.server, [announced], farAway, present)
    assert.deepEqual(await first.marker('alice', 'a'), announced)
  },
  'cannot claim an upload, except when the server itself completes it': async (store) => {
    const { first, second, servers, former } = await replaced(store)
    await assert.rejects(first.claim(former, wanted, granted(former)), lost)
    const recovered = await first.claim(former, wanted, granted(former), true)
    assert.ok('claim' in recovered)
    assert.equal((await second.record('alice', 'a'))?.token, recovered.claim.token)
    assert.equal(recovered.former?.server, servers[1]?.server)
  },
  'cannot register, and does not affect the registration of the present link': async (store) => {
    const { servers, former, present } = await replaced(store)
    const [first, second] = servers.map(({ steps }) => steps.mail)
    assert.ok(first && second)
    const { epoch } = await second.listen(present)
    await assert.rejects(first.listen(former), lost)
    const [registered, ...others] = (await second.poll(present.server, [])).listened
    assert.deepEqual([registered?.epoch, others], [epoch, []])
  },
  'is found by a poll, as the links of sessions that have ended': async (store) => {
    const { servers, former, present } = await replaced(store)
    const [first, second] = servers
    assert.ok(first && second)
    const { epoch } = await second.steps.mail.listen(present)
    const replacedOf = async ({ steps, server }: TestedServer, ...links: number[]) =>
      (await steps.mail.poll(server, links)).replaced.toSorted((a, b) => a - b)
    const unknown = Math.max(former.link, present.link) + 1
    assert.deepEqual(await replacedOf(first, former.link, unknown), [former.link, unknown])
    assert.deepEqual(await second.steps.mail.poll(second.server, [present.link]), {
      listened: [{ user: present.user, device: '', link: present.link, epoch, lastSeq: 0 }],
      replaced: [],
      hasDevices: false,
    })
    await second.steps.closeSession(present)
    assert.deepEqual(await replacedOf(second, present.link), [present.link])
  },
  'stores no message, neither before nor after the end of the present link, but may repeat one that is stored': async (
    store,
  ) => {
    const { servers, former, present } = await replaced(store)
    const [first, second] = servers
    assert.ok(first && second)
    const to = (number: number) => ({ ...message(number), recipients: ['bob'] })
    const post = async ({ steps, server }: TestedServer, messages: AddressedMessage[], by: ClusterSessionLink[]) =>
      (await steps.mail.post(server, messages, roomy, by)).outcomes.map((outcome) => outcome?.code)
    const stored = async () => {
      const [found = []] = await first.steps.mail.read([{ user: 'bob', afterSeq: 0 }], 9, 9_000)
      return messageNumbersOf(found)
    }
    assert.deepEqual(await post(first, [to(1)], [former]), ['link-lost'])
    assert.deepEqual(await post(second, [to(2), to(1)], [present, present]), [undefined, undefined])
    assert.deepEqual(await post(first, [to(3), to(2)], [former, former]), ['link-lost', undefined])
    await second.steps.closeSession(present)
    assert.deepEqual(await post(first, [to(3)], [former]), ['link-lost'])
    assert.deepEqual(await post(second, [to(3)], [present]), ['link-lost'])
    assert.deepEqual(await stored(), [2, 1])
  },
  'stores no message next to links that are present, and may send the same message as one of them': async (store) => {
    const { steps, server, link } = await entered(store)
    const session = newSession()
    const [former, present, other] = [link('alice', 1, session), link('alice', 2, session), link('bob', 3)]
    await steps.openSession(former, 1)
    await steps.openSession(present, 2)
    await steps.openSession(other, 1)
    const to = (number: number, sender = 'alice') => ({ ...message(number, { sender }), recipients: ['carol'] })
    const messages = [to(1), to(2, 'bob'), to(1), to(3), to(4), to(1, 'bob')]
    const by = [former, other, present, former, present, undefined]
    const { outcomes } = await steps.mail.post(server, messages, roomy, by)
    const lostLink = { code: 'link-lost' }
    assert.deepEqual(outcomes, [lostLink, undefined, undefined, lostLink, undefined, undefined])
    const [found = []] = await steps.mail.read([{ user: 'carol', afterSeq: 0 }], 9, 9_000)
    assert.deepEqual(messageNumbersOf(found), [2, 1, 4, 1])
  },
  'stores no message that a later link of the user has had refused, unless it is stored over that link': async (
    store,
  ) => {
    const { post, waiting, older, later } = await twoPrograms(store)
    assert.deepEqual(await post([1, 2], later, 0), ['mailbox-full', 'mailbox-full'])
    assert.deepEqual(await post([1, 3], older), ['link-lost', undefined])
    assert.deepEqual(await post([1], later), [undefined])
    assert.deepEqual(await post([1, 2, 4], older), [undefined, 'link-lost', undefined])
    assert.deepEqual(await waiting(), [3, 1, 4])
  },
  'stores messages that an earlier link of the user has had refused, or that were refused before it was opened': async (
    store,
  ) => {
    const { post, waiting, older, later, reopen } = await twoPrograms(store)
    assert.deepEqual(await post([1], older, 0), ['mailbox-full'])
    assert.deepEqual(await post([1], later), [undefined])
    assert.deepEqual(await post([2], later, 0), ['mailbox-full'])
    assert.deepEqual(await post([2], await reopen(older)), [undefined])
    assert.deepEqual(await waiting(), [1, 2])
  },
  'stores messages that a later link of the user has had refused before many others': async (store) => {
    const { post, waiting, older, later } = await twoPrograms(store)
    const { refusedIds } = fixed
    const numbers = upTo(refusedIds + 1)
    await post(numbers.slice(0, 1), later, 0)
    await post(numbers.slice(1), later, 0)
    assert.deepEqual(await post([1, 2, refusedIds + 1], older), [undefined, 'link-lost', 'link-lost'])
    assert.deepEqual(await waiting(), [1])
  },
  'cannot read a mailbox that belongs to another registration': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    const { epoch } = await first.steps.mail.listen(first.link('bob', 1))
    await first.steps.mail.post(first.server, [{ ...message(1), recipients: ['bob'] }], roomy)
    const readBy = async (by: number | undefined) => {
      const [found = []] = await first.steps.mail.read([{ user: 'bob', afterSeq: 0, epoch: by }], 9, 9_000)
      return messageNumbersOf(found)
    }
    assert.deepEqual(await readBy(epoch), [1])
    const { epoch: later } = await second.steps.mail.listen(second.link('bob', 2))
    assert.deepEqual([await readBy(epoch), await readBy(later), await readBy(undefined)], [[], [1], [1]])
    await second.steps.mail.unlisten({ user: 'bob', device: '' }, later, 0)
    assert.deepEqual(await readBy(later), [])
  },
}

/** The promises about the uploads that count for a user. */
export const totalsChecks: Checks<SharedStoreFixture> = {
  'count with their full size while they are held at other servers, and with their durable bytes otherwise': async (
    store,
  ) => {
    const { first, second, servers } = await replaced(store)
    const [here = 0, there = 0] = servers.map(({ server }) => server)
    const [record] = await second.records('alice', undefined, 9)
    assert.ok(record)
    const claim = { user: 'alice', name: 'a', token: record.token }
    const checkpoints = [{ offset: 2, digest: Uint8Array.of(1) }]
    await second.checkpoint([{ claim, checkpoints, at: 11 }])
    const none = { announced: { growth: 0, entries: 0 }, added: { growth: 0, entries: 0 } }
    assert.deepEqual(await first.totals('alice', [], here), { uploads: 1, bytes: wanted.size, ...none })
    assert.deepEqual(await second.totals('alice', [], there), { uploads: 1, bytes: 2, ...none })
    assert.deepEqual(await first.totals('alice', ['a', 'b'], here), { uploads: 0, bytes: 0, ...none })
    assert.deepEqual(await first.totals('bob', [], here), { uploads: 0, bytes: 0, ...none })
    await second.release([claim])
    assert.deepEqual(await first.totals('alice', ['b'], here), { uploads: 1, bytes: 2, ...none })
  },
}
