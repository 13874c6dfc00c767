import assert from 'node:assert/strict'
import type { Steps } from '../../../../lib/adapters/cluster/steps.ts'
import type { AddressedMessage, MailboxBounds, StoredMessage } from '../../../../lib/ports/mailboxes.ts'
import { type Checks, upTo } from '../../../../lib/testing/testCases.ts'
import { infoOf, longMs, newSession } from './fixture.ts'

/** A shared store with mailboxes that are empty at first. */
export interface MailFixture extends AsyncDisposable {
  /** Returns open steps of a further server. */
  connect(): Promise<Pick<Steps, 'mail' | 'enter' | 'leave'>>
}

/** Limits that no case reaches. */
export const roomy: MailboxBounds = {
  messages: 1_000_000,
  bytes: 1_000_000_000,
  allMessages: 1_000_000,
  allBytes: 1_000_000_000,
  receipts: 1_000,
  senderIds: 1_000_000,
  allIds: 1_000_000,
  sharePercent: 100,
  reserveBytes: 0,
}

/** Returns the message of alice with this number, which determines its id and its times. */
export function numbered(
  number: number,
  recipients: readonly string[],
  other: Partial<AddressedMessage> = {},
): AddressedMessage {
  const id = new Uint8Array(16).fill(7)
  new DataView(id.buffer).setUint32(0, number)
  const content = new TextEncoder().encode(`message ${number}`)
  return { sender: 'alice', id, sentAt: 1.7e12 + number, storedAt: number, content, recipients, ...other }
}

const sized = (number: number, recipients: readonly string[], bytes: number, sender = 'alice') =>
  numbered(number, recipients, { sender, content: new Uint8Array(bytes).fill(number) })

/** Returns the numbers of messages that `numbered` has made. */
export const numbersOf = (messages: readonly StoredMessage[]): number[] =>
  messages.map(({ id }) => new DataView(id.buffer, id.byteOffset).getUint32(0))

type Server = Awaited<ReturnType<typeof mailServer>>

/** Adds a server. */
export async function mailServer(store: MailFixture, leaseMs = longMs) {
  const { mail, ...steps } = await store.connect()
  const server = await steps.enter(infoOf('a server'), leaseMs)
  const all = async (user: string) => (await mail.read([{ user, afterSeq: 0 }], 1_000_000, 1_000_000_000))[0] ?? []
  return {
    mail,
    server,
    all,
    leave: () => steps.leave(server),
    /** Resolves with the code of the refusal of each message. */
    async post(messages: readonly AddressedMessage[], bounds = roomy) {
      const { outcomes } = await mail.post(server, messages, bounds)
      return outcomes.map((outcome) => outcome?.code)
    },
    waiting: async (user: string) => numbersOf(await all(user)),
    seqsOf: async (user: string) => (await all(user)).map(({ seq }) => seq),
    link: (user: string, link: number, session = newSession()) => ({ server, link, user, session, device: '' }),
  }
}

const full = (...recipients: string[]) => ({ code: 'mailbox-full', recipients })

export const postChecks: Checks<MailFixture> = {
  'are returned unchanged, whatever their content is': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    const contents = [Uint8Array.of(0, 255, 92, 39), new Uint8Array(0), new Uint8Array(70_000).fill(9)]
    const given = contents.map((content, at) => numbered(at, ['bob', 'élise "x"'], { content, sender: "zoë\\'" }))
    assert.deepEqual(await first.post(given), [undefined, undefined, undefined])
    for (const user of ['bob', 'élise "x"']) {
      const found = await second.all(user)
      assert.deepEqual(
        found.map(({ seq: _, ...message }) => message),
        given.map(({ sender, id, sentAt, content }) => ({ sender, id, sentAt, content })),
      )
    }
  },
  'have one seq in all mailboxes, which rises in the order of the messages': async (store) => {
    const { post, seqsOf, waiting, mail } = await mailServer(store)
    const users = upTo(16).map((number) => `user ${number}`)
    const senders = ['zoe', 'alice', 'bob']
    await post(senders.map((sender, at) => numbered(at, at === 1 ? users.toReversed() : users, { sender })))
    const [seqs] = await Promise.all(users.map(seqsOf))
    assert.equal(seqs?.length, 3)
    assert.deepEqual(
      seqs,
      seqs?.toSorted((a, b) => a - b),
    )
    for (const user of users) assert.deepEqual([await seqsOf(user), await waiting(user)], [seqs, [0, 1, 2]])
    assert.equal(await mail.lastSeq(), seqs?.at(-1))
  },
  'that are repeated are stored once, even if another server repeats them or in the same step': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    const message = numbered(1, ['bob', 'eve'])
    assert.deepEqual(await first.post([message, message]), [undefined, undefined])
    assert.deepEqual(await second.post([message, numbered(2, ['bob']), message]), [undefined, undefined, undefined])
    assert.deepEqual([await first.waiting('bob'), await first.waiting('eve')], [[1, 2], [1]])
    await first.mail.remove(first.server, [{ user: 'bob', seqs: await first.seqsOf('bob') }])
    assert.deepEqual(await second.post([message]), [undefined])
    assert.deepEqual(await first.waiting('bob'), [])
  },
  'with the id of another message are refused: the content or the recipients differ': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    const message = numbered(1, ['bob', 'eve'])
    await first.post([message])
    const others = [
      { ...message, content: Uint8Array.of(1) },
      { ...message, recipients: ['bob'] },
      { ...message, recipients: ['eve', 'bob'] },
    ]
    assert.deepEqual(await second.post(others), ['id-reused', 'id-reused', 'id-reused'])
    assert.deepEqual(await second.post([{ ...message, sender: 'bob' }]), [undefined])
    assert.deepEqual(
      [await first.waiting('bob'), await first.waiting('eve')],
      [
        [1, 1],
        [1, 1],
      ],
    )
  },
  'that are refused do not use their id, even within a step': async (store) => {
    const { post, waiting } = await mailServer(store)
    const bounds = { ...roomy, bytes: 100 }
    const steps = [sized(1, ['bob'], 101), sized(1, ['bob'], 60), sized(1, ['bob'], 61)]
    assert.deepEqual(await post(steps, bounds), ['mailbox-full', undefined, 'id-reused'])
    assert.deepEqual(await waiting('bob'), [1])
  },
  'posted by two servers at the same time under one id are stored once': async (store) => {
    const servers = await Promise.all(upTo(3).map(() => mailServer(store)))
    for (const number of upTo(20)) {
      const outcomes = await Promise.all(servers.map(({ post }) => post([numbered(number, ['bob', 'eve'])])))
      assert.deepEqual(outcomes, [[undefined], [undefined], [undefined]])
    }
    assert.deepEqual(await servers[0]?.waiting('bob'), upTo(20))
  },
}

export const boundsChecks: Checks<MailFixture> = {
  'apply to each mailbox, name the full ones, and do not affect the other messages of the step': async (store) => {
    const { mail, server, waiting } = await mailServer(store)
    const bounds = { ...roomy, messages: 2, bytes: 100 }
    const messages = [
      sized(1, ['bob', 'eve'], 10),
      sized(2, ['eve', 'bob'], 10),
      sized(3, ['carol', 'eve', 'dave', 'bob'], 10),
      sized(4, ['carol', 'dave'], 95),
      sized(5, ['dave'], 6),
      sized(6, ['dave'], 5),
    ]
    const { outcomes } = await mail.post(server, messages, bounds)
    assert.deepEqual(outcomes, [undefined, undefined, full('eve', 'bob'), undefined, full('dave'), undefined])
    assert.deepEqual([await waiting('carol'), await waiting('dave'), await waiting('bob')], [[4], [4, 6], [1, 2]])
  },
  'apply to all mailboxes, and to the ids of one sender and of all': async (store) => {
    const { mail, server, post } = await mailServer(store)
    const few = { ...roomy, allMessages: 3 }
    const { outcomes } = await mail.post(server, [numbered(1, ['bob', 'eve']), numbered(2, ['carol', 'bob'])], few)
    assert.deepEqual(outcomes, [undefined, full('carol', 'bob')])
    assert.deepEqual(await post([numbered(3, ['carol'])], few), [undefined])
    const own = { ...roomy, senderIds: 2 }
    assert.deepEqual(await post([numbered(4, ['bob']), numbered(3, ['carol'])], own), ['rate-limited', undefined])
    assert.deepEqual(await post([numbered(4, ['bob'], { sender: 'zoe' })], own), [undefined])
    const all = { ...roomy, allIds: 4 }
    const two = [numbered(5, ['bob'], { sender: 'zoe' }), numbered(6, ['bob'])]
    assert.deepEqual(await post(two, all), [undefined, 'rate-limited'])
  },
  'leave a part for other senders': async (store) => {
    const { post, waiting } = await mailServer(store)
    const halves = { ...roomy, messages: 10, sharePercent: 50 }
    const alices = upTo(6).map((number) => numbered(number, ['bob']))
    const stored = [undefined, undefined, undefined, undefined, undefined]
    assert.deepEqual(await post(alices, halves), [...stored, 'mailbox-full'])
    const zoes = upTo(4).map((number) => numbered(10 + number, ['bob'], { sender: 'zoe' }))
    assert.deepEqual(await post(zoes, halves), [undefined, undefined, 'mailbox-full', 'mailbox-full'])
    assert.equal((await waiting('bob')).length, 7)
  },
  'are exact when several servers post at once': async (store) => {
    const servers = await Promise.all(upTo(3).map(() => mailServer(store)))
    const bounds = { ...roomy, messages: 50 }
    let stored = 0
    for (const round of upTo(10)) {
      const posts = servers.map(({ post }, at) =>
        post(
          upTo(3).map((number) => numbered(100 * round + 10 * at + number, ['bob', 'eve'])),
          bounds,
        ),
      )
      for (const outcomes of await Promise.all(posts)) stored += outcomes.filter((code) => code === undefined).length
    }
    assert.equal(stored, 50)
    const levels = await servers[0]?.mail.levels(10)
    assert.deepEqual(
      levels?.map(({ user, messages }) => [user, messages]).sort(),
      ['bob', 'eve'].map((user) => [user, 50]),
    )
  },
  'have space again after messages are removed or expire, but not after they are set aside': async (store) => {
    const { mail, server, post, seqsOf } = await mailServer(store)
    const bounds = { ...roomy, messages: 1 }
    await post([numbered(1, ['bob'])], bounds)
    const seqs = await seqsOf('bob')
    await mail.setAside(server, [{ user: 'bob', seqs }])
    assert.deepEqual(await post([numbered(2, ['bob'])], bounds), ['mailbox-full'])
    await mail.remove(server, [{ user: 'bob', seqs }])
    assert.deepEqual(await post([numbered(2, ['bob'])], bounds), [undefined])
    await mail.expire(server, 3, 0, 100)
    assert.deepEqual(await post([numbered(3, ['bob'])], bounds), [undefined])
  },
}

export const readChecks: Checks<MailFixture> = {
  'are read from a seq on, up to a number and up to a number of bytes, but at least one': async (store) => {
    const { mail, post, seqsOf } = await mailServer(store)
    await post(upTo(5).map((number) => sized(number, ['bob'], 100)))
    const [first = 0] = await seqsOf('bob')
    const read = async (afterSeq: number, most: number, mostBytes: number) =>
      numbersOf((await mail.read([{ user: 'bob', afterSeq }], most, mostBytes))[0] ?? [])
    assert.deepEqual(await read(0, 2, 10_000), [1, 2])
    assert.deepEqual(await read(first, 3, 250), [2, 3])
    assert.deepEqual(await read(first, 3, 300), [2, 3, 4])
    assert.deepEqual(await read(first, 3, 1), [2])
  },
  'of several mailboxes are read in one step': async (store) => {
    const { mail, post } = await mailServer(store)
    await post([numbered(1, ['bob']), numbered(2, ['eve', 'bob']), numbered(3, ['eve'])])
    const users = ['eve', 'nobody', 'bob', 'eve']
    const found = await mail.read(
      users.map((user) => ({ user, afterSeq: 0 })),
      10,
      1_000,
    )
    assert.deepEqual(found.map(numbersOf), [[2, 3], [], [1, 2], [2, 3]])
  },
  'are no longer read after they are removed or set aside, which can be repeated': async (store) => {
    const { mail, server, post, seqsOf, waiting } = await mailServer(store)
    await post(upTo(6).map((number) => numbered(number, ['bob', 'eve'])))
    const [one = 0, two = 0, three = 0, four = 0] = await seqsOf('bob')
    for (const _ of ['first', 'again']) {
      await mail.remove(server, [
        { user: 'bob', seqs: [one, three] },
        { user: 'eve', seqs: [two] },
        { user: 'unknown', seqs: [one] },
      ])
      await mail.setAside(server, [
        { user: 'bob', seqs: [four, one] },
        { user: 'unknown', seqs: [one] },
      ])
      assert.deepEqual(
        [await waiting('bob'), await waiting('eve')],
        [
          [2, 5, 6],
          [1, 3, 4, 5, 6],
        ],
      )
    }
    const levels = await mail.levels(1)
    assert.deepEqual(
      levels.map(({ user, messages }) => [user, messages]),
      [['eve', 5]],
    )
    await post([numbered(7, ['bob'])])
    assert.deepEqual(await waiting('bob'), [2, 5, 6, 7])
  },
  'that were set aside are listed, and returned as the last messages of their mailbox': async (store) => {
    const { mail, server, post, waiting } = await mailServer(store)
    const content = new Uint8Array(3_000).fill(7)
    const all = [1, 2, 3, 4].map((number) => numbered(number, ['bob', 'eve'], { content, expiresAt: 9_000 + number }))
    await post(all)
    const page = { afterSeq: 0, most: 10, mostBytes: 100_000 }
    const numbersOf = async (aside: boolean) => {
      const found = await mail.list('bob', { ...page, aside })
      return found.map(({ expiresAt = 0, content: { length } }) => [expiresAt - 9_000, length])
    }
    const seqs = (await mail.list('bob', { ...page, aside: false })).map(({ seq }) => seq)
    await mail.setAside(server, [{ user: 'bob', seqs: seqs.slice(0, 3) }])
    const [levels, before] = [await mail.levels(10), await mail.lastSeq()]
    for (let times = 0; times < 2; times++) await mail.return(server, 'bob', [...seqs.slice(1), 99], 77)
    await mail.return(server, 'nobody', seqs, 77)
    assert.deepEqual(await waiting('bob'), [4, 2, 3])
    assert.deepEqual(await numbersOf(true), [[1, 3_000]])
    assert.deepEqual(await numbersOf(false), [
      [4, 3_000],
      [2, 3_000],
      [3, 3_000],
    ])
    assert.deepEqual([await mail.levels(10), await waiting('eve')], [levels, [1, 2, 3, 4]])
    assert.ok((await mail.lastSeq()) > before)
    assert.deepEqual(
      (await mail.expire(server, 77, 0, 100)).expired.toSorted((a, b) => (a.user < b.user ? -1 : 1)),
      [
        { user: 'bob', messages: 2 },
        { user: 'eve', messages: 4 },
      ],
    )
    assert.deepEqual(await waiting('bob'), [2, 3])
  },
}

export const listenChecks: Checks<MailFixture> = {
  'have rising numbers, and one number for the same link': async (store) => {
    const { mail, link } = await mailServer(store)
    const [first, second] = [link('bob', 1), link('bob', 2)]
    const { epoch, handed, former } = await mail.listen(first)
    assert.deepEqual([handed, former], [0, undefined])
    assert.equal((await mail.listen(first)).epoch, epoch)
    assert.ok((await mail.listen(second)).epoch > epoch)
  },
  'that replace another registration resolve with it, and all messages count as handed out': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    await first.post([numbered(1, ['bob'])])
    await first.mail.listen(first.link('bob', 1))
    await first.post([numbered(2, ['bob'])])
    const { handed, former } = await second.mail.listen(second.link('bob', 2))
    assert.deepEqual(former, { server: first.server, link: 1 })
    assert.equal(handed, (await first.seqsOf('bob')).at(-1))
  },
  'that end record what they have handed out, if they are the present ones': async (store) => {
    const { mail, link, post, seqsOf } = await mailServer(store)
    const { epoch } = await mail.listen(link('bob', 1))
    await post([numbered(1, ['bob']), numbered(2, ['bob'])])
    const [seq = 0] = await seqsOf('bob')
    await mail.unlisten({ user: 'bob', device: '' }, epoch, seq)
    const later = await mail.listen(link('bob', 2))
    assert.deepEqual([later.handed, later.former], [seq, undefined])
    await mail.unlisten({ user: 'bob', device: '' }, epoch, seq + 100)
    const last = await mail.listen(link('bob', 3))
    assert.deepEqual([last.former?.link, last.handed], [2, (await seqsOf('bob')).at(-1)])
  },
  'are refused for a session that has lost the mailbox to another one': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    const [older, newer] = [newSession(), newSession()]
    await first.mail.listen(first.link('bob', 1, older))
    await second.mail.listen(second.link('bob', 2, older))
    await first.mail.listen(first.link('bob', 3, newer))
    await assert.rejects(second.mail.listen(second.link('bob', 4, older)), { code: 'superseded' })
    await second.mail.listen(second.link('bob', 5, newer))
    await second.mail.listen(second.link('eve', 6, older))
  },
  'at a server whose lease has expired are replaced without superseding the session': async (store) => {
    const [first, second] = [await mailServer(store, 0), await mailServer(store)]
    const lost = newSession()
    await first.mail.listen(first.link('bob', 1, lost))
    await second.mail.listen(second.link('bob', 2))
    await second.mail.listen(second.link('bob', 3, lost))
  },
  'are listed with the latest seq of the mailbox': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    await first.post([numbered(1, ['bob'])])
    const bob = await second.mail.listen(second.link('bob', 7))
    const eve = await second.mail.listen(second.link('eve', 8))
    await first.mail.listen(first.link('carol', 9))
    const seq = (await first.seqsOf('bob')).at(-1)
    const { listened, replaced } = await second.mail.poll(second.server, [])
    const listed = listened.toSorted((a, b) => a.link - b.link)
    assert.deepEqual(replaced, [])
    assert.deepEqual(listed, [
      { user: 'bob', device: '', link: 7, epoch: bob.epoch, lastSeq: seq },
      { user: 'eve', device: '', link: 8, epoch: eve.epoch, lastSeq: 0 },
    ])
    await second.mail.unlisten({ user: 'bob', device: '' }, bob.epoch, 0)
    await second.mail.unlisten({ user: 'eve', device: '' }, eve.epoch, 0)
    assert.deepEqual(await second.mail.poll(second.server, []), { listened: [], replaced: [], hasDevices: false })
  },
  'at other servers are returned by a step that stores messages for them, and by its repetition': async (store) => {
    const [first, second] = [await mailServer(store), await mailServer(store)]
    await first.mail.listen(first.link('alice', 1))
    await second.mail.listen(second.link('bob', 2))
    await second.mail.listen(second.link('eve', 3))
    const bounds = { ...roomy, bytes: 50 }
    const messages = [numbered(1, ['bob', 'alice', 'carol']), sized(2, ['eve'], 51), numbered(3, ['bob'])]
    for (const _ of ['first', 'again']) {
      const { wakes } = await first.mail.post(first.server, messages, bounds)
      assert.deepEqual(wakes, [{ server: second.server, user: 'bob' }])
    }
  },
}

/** Posts messages of its senders to random mailboxes, a few in each step. Resolves with the posted messages. */
async function postMany({ post }: Server, senders: readonly string[], users: readonly string[], rounds: number) {
  const posted: { readonly sender: string; readonly number: number; readonly to: readonly string[] }[] = []
  let number = 0
  let state = senders.length
  const random = (most: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % most
  }
  for (const _ of upTo(rounds)) {
    const messages = upTo(20).map(() => {
      const to = new Set(upTo(1 + random(8)).map(() => users[random(users.length)] ?? ''))
      return numbered(++number, [...to], { sender: senders[random(senders.length)] ?? '' })
    })
    assert.deepEqual(new Set(await post(messages)), new Set([undefined]))
    for (const { sender, recipients } of messages) posted.push({ sender, number: posted.length + 1, to: recipients })
  }
  return posted
}

/** Reads a mailbox by rising seq, and removes what it has read, until `isOver` and nothing is left. */
async function readMany({ mail, server }: Server, user: string, isOver: () => boolean): Promise<string[]> {
  const seen: string[] = []
  let afterSeq = 0
  for (;;) {
    const wasOver = isOver()
    const [page = []] = await mail.read([{ user, afterSeq }], 50, 100_000)
    if (page.length === 0 && wasOver) return seen
    for (const [at, { sender }] of page.entries()) seen.push(`${sender} ${numbersOf(page)[at]}`)
    afterSeq = page.at(-1)?.seq ?? afterSeq
    if (page.length > 0) await mail.remove(server, [{ user, seqs: page.map(({ seq }) => seq) }])
  }
}

/** Returns the texts of each sender, in their order. */
function bySender(texts: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const text of texts) {
    const sender = text.slice(0, text.lastIndexOf(' '))
    found.set(sender, [...(found.get(sender) ?? []), text])
  }
  return found
}

export const loadChecks: Checks<MailFixture> = {
  'from three servers at the same time reach readers that read by seq, in the order of each sender': async (store) => {
    const servers = await Promise.all(upTo(3).map(() => mailServer(store)))
    const users = upTo(10).map((number) => `user ${number}`)
    const [first] = servers
    assert.ok(first)
    let isOver = false
    const reading = users.map((user, at) => readMany(servers[at % 3] ?? first, user, () => isOver))
    const posting = servers.map((server, at) =>
      postMany(
        server,
        upTo(5).map((number) => `sender ${at} ${number}`),
        users,
        15,
      ),
    )
    const posted = (await Promise.all(posting)).flat()
    isOver = true
    const seen = await Promise.all(reading)
    for (const [at, user] of users.entries()) {
      const due = posted.filter(({ to }) => to.includes(user)).map(({ sender, number }) => `${sender} ${number}`)
      assert.deepEqual(bySender(seen[at] ?? []), bySender(due))
    }
    assert.deepEqual(await first.mail.levels(10), [])
  },
}

/** The promises of `MailSteps`. */
