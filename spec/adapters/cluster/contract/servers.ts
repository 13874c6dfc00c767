import assert from 'node:assert/strict'
import { linkBlockSize, type Steps } from '../../../../lib/adapters/cluster/steps.ts'
import { message, roomy } from '../../../../lib/testing/storage/mailSteps.ts'
import type { Checks } from '../../../../lib/testing/testCases.ts'
import { deviceChecks } from './devices.ts'
import { declaredDead, entered, eventually, infoOf, longMs, newSession, type SharedStoreFixture } from './fixture.ts'
import { importChecks } from './imports.ts'
import { requestChecks, totalsChecks } from './requests.ts'

const stateOf = async (steps: Steps, server: number) => (await steps.servers()).find((each) => each.server === server)

/** What a server has seen that has seen nothing. */
const nothing = { stored: 0, presenceVersion: 0, seq: 0, token: 0, linkBlock: 0 }

const comparisonChecks: Checks<SharedStoreFixture> = {
  'is not behind what a server has seen of it': async (store) => {
    const steps = await store.connect()
    const info = infoOf('a')
    const server = await steps.enter(info, longMs)
    const linkBlock = await steps.linkBlock()
    const { stored } = await steps.mail.post(server, [{ ...message(1), recipients: ['bob', 'eve'] }], roomy)
    const again = await steps.mail.post(server, [{ ...message(1), recipients: ['bob', 'eve'] }], roomy)
    assert.deepEqual([stored, again.stored], [1, 1])
    const presenceVersion = await steps.present(server, 0, [{ link: 1, user: 'bob', isHere: true }])
    const seen = { stored, presenceVersion, seq: await steps.mail.lastSeq(), token: 0, linkBlock }
    const { timeline, ...found } = await steps.compare(server, info.boot, seen)
    assert.deepEqual(found, { isBehind: false, messages: 0, isMember: true })
    assert.equal((await steps.compare(server, info.boot, seen)).timeline, timeline)
  },
  'is behind a server that has seen later messages, registrations or numbers': async (store) => {
    const steps = await store.connect()
    const info = infoOf('a')
    const server = await steps.enter(info, longMs)
    const { stored } = await steps.mail.post(server, [{ ...message(1), recipients: ['bob'] }], roomy)
    const compare = async (seen: Partial<typeof nothing>) => {
      const { timeline: _, ...found } = await steps.compare(server, info.boot, { ...nothing, ...seen })
      return found
    }
    const behind = { isBehind: true, messages: 0, isMember: true }
    assert.deepEqual(await compare({ stored: stored + 3 }), { ...behind, messages: 3 })
    assert.deepEqual(await compare({ presenceVersion: 1 }), behind)
    assert.deepEqual(await compare({ seq: 1_000_000_000 }), behind)
    assert.deepEqual(await compare({ token: 1_000_000_000 }), behind)
    assert.deepEqual(await compare({ linkBlock: 1_000 * linkBlockSize }), behind)
  },
  'is behind a server whose number it has given to another one, or never': async (store) => {
    const steps = await store.connect()
    const info = infoOf('a')
    const server = await steps.enter(info, longMs)
    const lost = { isBehind: true, messages: 2, isMember: false }
    const compare = async (number: number, boot: string) => {
      const { timeline: _, ...found } = await steps.compare(number, boot, { ...nothing, stored: 2 })
      return found
    }
    assert.deepEqual(await compare(server, infoOf('a').boot), lost)
    assert.deepEqual(await compare(server + 1_000, info.boot), lost)
  },
  'uses no number twice after it was raised': async (store) => {
    const { steps, server } = await entered(store)
    const seen = { ...nothing, seq: 5_000_000, token: 6_000_000, linkBlock: 100 * linkBlockSize }
    await steps.raise(server + 1_000, seen)
    await steps.raise(server + 1_000, seen)
    const before = await steps.users(0)
    assert.ok(await steps.users((before?.version ?? 0) - 1))
    assert.ok((await steps.enter(infoOf('b'), longMs)) > server + 1_000)
    assert.ok((await steps.linkBlock()) > seen.linkBlock)
    await steps.mail.post(server, [{ ...message(1), recipients: ['bob'] }], roomy)
    assert.ok((await steps.mail.lastSeq()) > seen.seq)
    const boot = infoOf('a').boot
    const { isBehind } = await steps.compare(await steps.enter({ ...infoOf('c'), boot }, longMs), boot, seen)
    assert.equal(isBehind, false)
  },
}

const serverChecks: Checks<SharedStoreFixture> = {
  'have different numbers, and `enter` returns the same number when it is repeated': async (store) => {
    const [first, second] = [await store.connect(), await store.connect()]
    const info = infoOf('a')
    const numbers = [await first.enter(info, longMs), await second.enter(infoOf('a'), longMs)]
    assert.equal(new Set(numbers).size, 2)
    assert.equal(await first.enter(info, longMs), numbers[0])
  },
  'are listed with their names, their leases and their status': async (store) => {
    const { steps } = await entered(store)
    const info = infoOf('b')
    const server = await steps.enter(info, longMs)
    await steps.renew(server, longMs, 5, { links: 7 })
    const { leaseMs = 0, startedAt, ...state } = (await stateOf(steps, server)) ?? {}
    assert.ok(leaseMs > 0 && leaseMs <= longMs, `the lease ends in ${leaseMs} ms`)
    assert.equal(typeof startedAt, 'number')
    assert.deepEqual(state, { server, ...info, isDead: false, presenceVersion: 0, status: { links: 7 } })
  },
  'keep their lease if they renew it': async (store) => {
    const [first, second] = [await entered(store, 1), await entered(store)]
    assert.equal(await first.steps.renew(first.server, longMs, 0, {}), true)
    assert.deepEqual(await second.steps.declareDead(second.server), [])
    assert.equal((await stateOf(second.steps, first.server))?.isDead, false)
  },
  'are declared dead by another server after their lease has expired, and can no longer renew it': async (store) => {
    const [first, second, third] = [await entered(store, 1), await entered(store), await entered(store)]
    await declaredDead(second, first.server)
    assert.deepEqual(await third.steps.declareDead(third.server), [])
    assert.equal(await first.steps.renew(first.server, longMs, 0, {}), false)
    const state = await stateOf(third.steps, first.server)
    assert.ok(state?.isDead !== false, 'a dead server is shown as dead, or not at all')
  },
  'declare no other server dead after their own lease has expired': async (store) => {
    const [first, second] = [await entered(store, 1), await entered(store, 1)]
    const isOver = async () => (await first.steps.servers()).every(({ leaseMs }) => leaseMs < 0) || undefined
    await eventually(isOver)
    assert.deepEqual(await first.steps.declareDead(first.server), [])
    assert.equal(await first.steps.renew(first.server, longMs, 0, {}), true)
    assert.deepEqual(await first.steps.declareDead(first.server), [second.server])
  },
  'attend a mailbox, one at a time, until they are dead': async (store) => {
    const [first, second, third] = [await entered(store, 1), await entered(store), await entered(store)]
    assert.equal(await first.steps.mail.attend(first.server, 'bob'), true)
    assert.equal(await second.steps.mail.attend(second.server, 'bob'), false)
    const { wakes } = await second.steps.mail.post(second.server, [{ ...message(1), recipients: ['bob'] }], roomy)
    assert.deepEqual(wakes, [{ server: first.server, user: 'bob' }])
    const { listened } = await first.steps.mail.poll(first.server, [])
    assert.deepEqual([listened[0]?.user, listened[0]?.link], ['bob', 0])
    await declaredDead(second, first.server)
    assert.equal(await first.steps.mail.attend(first.server, 'bob'), false)
    assert.equal(await second.steps.mail.attend(second.server, 'bob'), true)
    assert.equal(await first.steps.mail.attend(first.server, 'bob'), false)
    await second.steps.leave(second.server)
    assert.equal(await third.steps.mail.attend(third.server, 'bob'), true)
  },
  'that leave are dead at once': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    await first.steps.leave(first.server)
    await first.steps.leave(first.server)
    assert.deepEqual(await second.steps.declareDead(second.server), [])
    assert.equal(await first.steps.renew(first.server, longMs, 0, {}), false)
  },
  'that are dead have no registrations: all messages count as handed out, and no registration begins': async (
    store,
  ) => {
    const [first, second] = [await entered(store, 1), await entered(store)]
    await first.steps.mail.listen(first.link('bob', 1))
    await second.steps.mail.post(second.server, [{ ...message(1), recipients: ['bob'] }], roomy)
    await declaredDead(second, first.server)
    assert.deepEqual((await second.steps.mail.poll(first.server, [])).listened, [])
    await assert.rejects(first.steps.mail.listen(first.link('bob', 2)), { code: 'link-lost' })
    const { handed, former } = await second.steps.mail.listen(second.link('bob', 3))
    assert.deepEqual([handed, former], [await second.steps.mail.lastSeq(), undefined])
  },
  'get distinct blocks of link numbers': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    const blocks = await Promise.all([first, second, first, second].map(({ steps }) => steps.linkBlock()))
    const sorted = blocks.toSorted((a, b) => a - b)
    assert.ok((sorted[0] ?? 0) > 0)
    for (const [at, block] of sorted.entries()) {
      if (at > 0) assert.ok(block >= (sorted[at - 1] ?? 0) + linkBlockSize, `${block} overlaps another block`)
    }
  },
  'know the latest time of the age clock of all servers, including dead ones': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    assert.equal(await first.steps.lastTime(), 0)
    await first.steps.renew(first.server, longMs, 2_000.5, {})
    await second.steps.renew(second.server, longMs, 1_000, {})
    assert.equal(await second.steps.lastTime(), 2_000.5)
    await first.steps.leave(first.server)
    assert.equal(await second.steps.lastTime(), 2_000.5)
  },
}

const here = (link: number, user: string) => ({ link, user, isHere: true })
const gone = (link: number, user: string) => ({ link, user, isHere: false })

const presenceChecks: Checks<SharedStoreFixture> = {
  'has the changes of each server for the other servers, in versions': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    const version = await first.steps.present(first.server, 0, [here(1, 'alice'), here(2, 'bob')])
    assert.equal((await stateOf(second.steps, first.server))?.presenceVersion, version)
    const whole = await second.steps.presence(first.server, 0)
    assert.deepEqual(new Set(whole.changes), new Set([here(1, 'alice'), here(2, 'bob')]))
    assert.equal(whole.version, version)
    const next = await first.steps.present(first.server, version, [gone(1, 'alice'), here(3, 'élise')])
    assert.ok(next > version)
    const { isWhole, changes } = await second.steps.presence(first.server, version)
    if (isWhole) assert.deepEqual(new Set(changes), new Set([here(2, 'bob'), here(3, 'élise')]))
    else assert.deepEqual(new Set(changes), new Set([gone(1, 'alice'), here(3, 'élise')]))
    const present = await second.steps.presence(first.server, next)
    assert.deepEqual([present.version, present.isWhole ? [] : present.changes], [next, []])
    assert.deepEqual((await first.steps.presence(second.server, 0)).changes, [])
  },
  'is changed once by a repeated step': async (store) => {
    const { steps, server } = await entered(store)
    const version = await steps.present(server, 0, [here(1, 'alice')])
    assert.equal(await steps.present(server, 0, [here(1, 'alice')]), version)
    assert.deepEqual((await steps.presence(server, 0)).changes, [here(1, 'alice')])
  },
  'is empty for a dead server': async (store) => {
    const [first, second] = [await entered(store, 1), await entered(store)]
    const version = await first.steps.present(first.server, 0, [here(1, 'alice')])
    await declaredDead(second, first.server)
    assert.deepEqual((await second.steps.presence(first.server, 0)).changes, [])
    const { isWhole, changes } = await second.steps.presence(first.server, version)
    assert.deepEqual(changes, isWhole ? [] : [gone(1, 'alice')])
  },
}

const sessionChecks: Checks<SharedStoreFixture> = {
  'replaces its former link, at any server, and has none at first': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    const session = newSession()
    assert.equal(await first.steps.openSession(first.link('alice', 1, session), 1), undefined)
    assert.equal(await first.steps.openSession(first.link('alice', 1, session), 1), undefined)
    const atFirst = { server: first.server, link: 1 }
    assert.deepEqual(await second.steps.openSession(second.link('alice', 2, session), 2), atFirst)
    const atSecond = { server: second.server, link: 2 }
    assert.deepEqual(await second.steps.openSession(second.link('alice', 3, session), 3), atSecond)
  },
  'belongs to one user': async (store) => {
    const { steps, link } = await entered(store)
    const session = newSession()
    await steps.openSession(link('alice', 1, session), 1)
    assert.equal(await steps.openSession(link('bob', 2, session), 2), undefined)
    assert.equal(await steps.openSession(link('alice', 3), 3), undefined)
  },
  'is closed only by its present link': async (store) => {
    const { steps, server, link } = await entered(store)
    const session = newSession()
    await steps.openSession(link('alice', 1, session), 1)
    await steps.openSession(link('alice', 2, session), 2)
    await steps.closeSession(link('alice', 1, session))
    assert.deepEqual(await steps.openSession(link('alice', 3, session), 3), { server, link: 2 })
    await steps.closeSession(link('alice', 3, session))
    await steps.closeSession(link('alice', 3, session))
    assert.equal(await steps.openSession(link('alice', 4, session), 4), undefined)
  },
  'has no link at a dead server, and cannot be opened there': async (store) => {
    const [first, second] = [await entered(store, 1), await entered(store)]
    const session = newSession()
    await first.steps.openSession(first.link('alice', 1, session), 1)
    await declaredDead(second, first.server)
    assert.equal(await second.steps.openSession(second.link('alice', 2, session), 2), undefined)
    const late = first.steps.openSession(first.link('alice', 3, session), 3)
    await assert.rejects(late, { code: 'link-lost' })
    const present = { server: second.server, link: 2 }
    assert.deepEqual(await second.steps.openSession(second.link('alice', 4, session), 4), present)
  },
  'is not replaced by a link that was opened with an earlier attempt': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    const session = newSession()
    await first.steps.openSession(first.link('alice', 1, session), 2)
    await assert.rejects(second.steps.openSession(second.link('alice', 2, session), 1), { code: 'link-replaced' })
    const later = await second.steps.openSession(second.link('alice', 3, session), 3)
    assert.deepEqual(later, { server: first.server, link: 1 })
    await second.steps.closeSession(second.link('alice', 3, session))
    assert.equal(await first.steps.openSession(first.link('alice', 4, session), 1), undefined)
  },
}

const userChecks: Checks<SharedStoreFixture> = {
  'are added, replaced and removed for all servers': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    await first.steps.setUser('alice', Uint8Array.of(1, 0, 255))
    await second.steps.setUser('élise', Uint8Array.of(2))
    await second.steps.setUser('alice', Uint8Array.of(3))
    await first.steps.setUser('bob', Uint8Array.of(4))
    await first.steps.setUser('bob', undefined)
    await first.steps.setUser('bob', undefined)
    const users = (await first.steps.users(-1))?.users ?? []
    const found = users.map(({ name, tokenHash }) => [name, ...tokenHash]).sort()
    assert.deepEqual(found, [
      ['alice', 3],
      ['élise', 2],
    ])
    for (const { since } of users) assert.equal(typeof since, 'number')
  },
  'are returned only if they have changed': async (store) => {
    const { steps } = await entered(store)
    await steps.setUser('alice', Uint8Array.of(1))
    const { version = -1 } = (await steps.users(-1)) ?? {}
    assert.equal(await steps.users(version), undefined)
    await steps.setUser('alice', Uint8Array.of(2))
    const changed = await steps.users(version)
    assert.notEqual(changed?.version, version)
    assert.equal(changed?.users.length, 1)
    await steps.setUser('alice', undefined)
    assert.deepEqual((await steps.users(changed?.version ?? version))?.users, [])
  },
  'cannot have a name that looks like the name of another user': async (store) => {
    const { steps } = await entered(store)
    await steps.setUser('Bob', Uint8Array.of(1))
    await assert.rejects(steps.setUser('bob', Uint8Array.of(2)), { code: 'usage' })
    await steps.setUser('Bob', undefined)
    await steps.setUser('bob', Uint8Array.of(2))
  },
}

/** Returns the notifications that a server receives, to which later ones are added, and a promise of their number. */
function heardBy({ steps, server }: Awaited<ReturnType<typeof entered>>) {
  const heard: unknown[] = []
  let changed = () => {}
  const listening = steps.hear(server, (notice) => {
    // Sent when the connection begins to listen.
    if (notice.kind !== 'unknown') heard.push(notice)
    changed()
  })
  const count = (most: number) =>
    new Promise<void>((resolve) => {
      changed = () => {
        if (heard.length >= most) resolve()
      }
      changed()
    })
  return { heard, count, listening }
}

const noticeChecks: Checks<SharedStoreFixture> = {
  'arrive at the server to which they are sent, or at all': async (store) => {
    const [first, second] = [await entered(store), await entered(store)]
    const [one, two] = [heardBy(first), heardBy(second)]
    // Connects the listeners.
    await first.steps.tell(first.server, { kind: 'users' })
    await second.steps.tell(second.server, { kind: 'users' })
    await Promise.all([one.count(1), two.count(1)])
    const mail = { kind: 'mail', users: ['bob', 'élise "x"'] } as const
    await first.steps.tell(second.server, mail)
    await first.steps.tell('all', { kind: 'presence', server: first.server, version: 3 })
    await second.steps.tell(first.server, { kind: 'ended', link: 7, why: 'superseded' })
    await second.steps.tell(second.server, { kind: 'claim', token: 9, why: 'cancelled' })
    await Promise.all([one.count(3), two.count(4)])
    const presence = { kind: 'presence', server: first.server, version: 3 }
    const users = { kind: 'users' }
    assert.deepEqual(new Set(one.heard), new Set([users, presence, { kind: 'ended', link: 7, why: 'superseded' }]))
    assert.deepEqual(
      new Set(two.heard),
      new Set([users, mail, presence, { kind: 'claim', token: 9, why: 'cancelled' }]),
    )
  },
  'do not arrive after the listener was disposed': async (store) => {
    const server = await entered(store)
    const [disposed, kept] = [heardBy(server), heardBy(server)]
    disposed.listening[Symbol.dispose]()
    await server.steps.tell(server.server, { kind: 'users' })
    await kept.count(1)
    assert.deepEqual(disposed.heard, [])
  },
  'about many mailboxes arrive, possibly as one of kind `unknown`': async (store) => {
    const server = await entered(store)
    const users = Array.from({ length: 2_000 }, (_, at) => `user ${at}`)
    let isUnknown = false
    const named = new Set<string>()
    const everything = new Promise<void>((resolve) => {
      server.steps.hear(server.server, (notice) => {
        if (notice.kind === 'mail') for (const user of notice.users) named.add(user)
        if (notice.kind === 'unknown') isUnknown = true
        if (isUnknown || named.size === users.length) resolve()
      })
    })
    await server.steps.tell(server.server, { kind: 'mail', users })
    await everything
  },
}

/** The promises of `ServerSteps`, `PresenceSteps`, `SessionSteps`, `UserSteps` and `NoticeSteps`. */
export const serverSuites: readonly (readonly [subject: string, Checks<SharedStoreFixture>])[] = [
  ['the servers of a shared store', serverChecks],
  ['a shared store that is compared with what a server has seen', comparisonChecks],
  ['the presence list in a shared store', presenceChecks],
  ['a session in a shared store', sessionChecks],
  ['the users of a shared store', userChecks],
  ['the notifications of a shared store', noticeChecks],
  ['a link of a shared store that was replaced', requestChecks],
  ['the totals of uploads in a shared store', totalsChecks],
  ['an import into a shared store', importChecks],
  ['the devices of users in a shared store', deviceChecks],
]
