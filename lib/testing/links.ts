import assert from 'node:assert/strict'
import { fixed } from '../limits.ts'
import type { LinkDirectory, LinkEvents, ListeningLink, SessionLink } from '../ports/links.ts'
import type { MailboxStore } from '../ports/mailboxes.ts'
import { message, roomy } from './storage/mailSteps.ts'
import { type Checks, type TestCase, testCasesOf, upTo } from './testCases.ts'

/** A server of a test case, whose directory and mailboxes are open. */
export interface LinksServer {
  readonly links: LinkDirectory
  readonly mailboxes: Pick<MailboxStore, 'append' | 'lastSeq'>
  /** Stops the server. */
  close(): PromiseLike<void>
}

/** A storage without messages, for one test case. Disposing it also stops its servers. */
export interface LinksLocation extends AsyncDisposable {
  /**
   * Starts a server of this storage, whose directory reports to `events`. A call after the former server was closed simulates a
   * restart. Unless `isNotified` is set, all notifications of other servers to this one are lost, if the servers of this storage
   * notify each other.
   */
  server(events: LinkEvents, isNotified: boolean): Promise<LinksServer>
}

type Server = Awaited<ReturnType<typeof started>>

/** Starts a server with a list of the events that its directory reports. */
async function started(location: LinksLocation, isNotified = true) {
  const seen: string[] = []
  let changed = () => {}
  const add = (text: string) => {
    seen.push(text)
    changed()
  }
  const events: LinkEvents = {
    here: ({ node, user }) => add(`here ${user} ${node}`),
    gone: ({ node, user }) => add(`gone ${user} ${node}`),
    ended: (node, reason, by) => add(`${node} ${reason} by ${by}`),
    serverLost: () => add('a server is lost'),
    declaredDead: () => add('declared dead'),
  }
  const server = await location.server(events, isNotified)
  const { links, mailboxes } = server
  return {
    ...{ links, seen, close: () => server.close() },
    /** Returns a new link, which can also be registered. */
    link(user: string, session = 'a', device = ''): ListeningLink {
      const node = links.nextNode()
      return { node, user, session: session.padStart(32, '0'), device, epoch: node }
    },
    /** Stores a message. Resolves with its seq. */
    async post(recipient: string): Promise<number> {
      const posted = { ...message(links.nextNode()), recipients: [recipient] }
      assert.deepEqual(await mailboxes.append([posted], roomy), [undefined])
      return mailboxes.lastSeq()
    },
    /** Resolves when an event that begins with these words occurs or has occurred. */
    sees: (words: string) =>
      new Promise<void>((resolve) => {
        changed = () => {
          if (seen.some((text) => `${text} `.startsWith(`${words} `))) resolve()
        }
        changed()
      }),
  }
}

/** Resolves after a call about this link that is refused, and therefore after all earlier calls about it. */
const refusedAgain = ({ links }: Server, link: SessionLink) =>
  assert.rejects(links.openSession(link, 0), { code: 'link-replaced' })

/** The promises that also apply to a server whose storage no other server shares. */
const serverChecks: Checks<LinksLocation> = {
  'have different numbers': async (location) => {
    const { links } = await started(location)
    const nodes = upTo(30_000).map(() => links.nextNode())
    assert.equal(new Set(nodes).size, nodes.length)
    assert.ok(nodes.every((node) => Number.isSafeInteger(node) && node > 0))
  },
  'of one session replace each other: the former one has ended when the next one is open': async (location) => {
    const server = await started(location)
    const { links, seen, link } = server
    const [former, next] = [link('alice'), link('alice')]
    await links.openSession(former, 1)
    await links.openSession(former, 1)
    await links.openSession(link('alice', 'b'), 1)
    await links.openSession(link('bob'), 1)
    assert.deepEqual(seen, [])
    await links.openSession(next, 1)
    assert.deepEqual(seen, [`${former.node} link-replaced by ${next.node}`])
  },
  'of one session are refused if a later attempt has opened its link, until that link is closed': async (location) => {
    const server = await started(location)
    const { links, seen, link } = server
    const [former, present, late] = [link('alice'), link('alice'), link('alice')]
    await links.openSession(former, 1)
    await links.openSession(present, 3)
    await assert.rejects(links.openSession(late, 2), { code: 'link-replaced' })
    links.closeSession(former)
    await refusedAgain(server, former)
    await assert.rejects(links.openSession(late, 2), { code: 'link-replaced' })
    links.closeSession(present)
    // The calls about one link take effect in their order.
    await links.openSession(present, 1)
    assert.deepEqual(seen, [`${former.node} link-replaced by ${present.node}`])
  },
  'receive messages one at a time for each user: the next registration ends the former one, and supersedes its session':
    async (location) => {
      const { links, seen, link } = await started(location)
      const [former, next] = [link('bob', 'a'), link('bob', 'b')]
      assert.deepEqual(await links.listen(former), { handed: 0 })
      await links.listen(link('eve', 'a'))
      assert.deepEqual(seen, [])
      await links.listen(next)
      assert.deepEqual(seen, [`${former.node} superseded by ${next.node}`])
      await links.unlisten(former, 0)
      await assert.rejects(links.listen(link('bob', 'a')), { code: 'superseded' })
      await links.unlisten(next, 0)
      await assert.rejects(links.listen(link('bob', 'a')), { code: 'superseded' })
      await links.listen(link('bob', 'b'))
      assert.equal(seen.length, 1)
    },
  'of one session follow each other as recipients, and supersede no session': async (location) => {
    const { links, seen, link } = await started(location)
    const [former, next] = [link('bob'), link('bob')]
    await links.listen(former)
    await links.listen(next)
    assert.deepEqual(seen, [`${former.node} superseded by ${next.node}`])
    await links.listen(link('bob'))
  },
  'are forgotten as recipients after their registration was ended, and supersede no session': async (location) => {
    const { links, seen, link } = await started(location)
    const former = link('bob', 'a')
    await links.listen(former)
    await links.unlisten(former, 0)
    await links.listen(link('bob', 'b'))
    assert.deepEqual(seen, [])
  },
  'keep a registration if an earlier one of the same link is ended late': async (location) => {
    const { links, seen, link } = await started(location)
    const former = link('bob', 'a')
    await links.listen(former)
    await links.listen({ ...former, epoch: former.epoch + 1 })
    await links.unlisten(former, 0)
    const next = link('bob', 'b')
    await links.listen(next)
    assert.deepEqual(seen, [`${former.node} superseded by ${next.node}`])
  },
  'remember the latest superseded sessions of each user': async (location) => {
    const { links, link } = await started(location)
    const sessions = upTo(fixed.supersededSessions + 2).map(String)
    for (const session of sessions) await links.listen(link('bob', session))
    for (const session of sessions.slice(1, -1)) {
      await assert.rejects(links.listen(link('bob', session)), { code: 'superseded' })
    }
    await links.listen(link('bob', sessions[0]))
  },
  'count what waits as sent if the server stops without ending a registration': async (location) => {
    const server = await started(location)
    await server.links.listen(server.link('bob'))
    const seq = await server.post('bob')
    await server.close()
    const next = await started(location)
    assert.deepEqual(await next.links.listen(next.link('bob')), { handed: seq })
  },
  'listen for several devices of a user at the same time, each of which is taken over separately': async (location) => {
    const { links, seen, link } = await started(location)
    const [phone, laptop, next] = [link('bob', 'a', 'phone'), link('bob', 'a', 'laptop'), link('bob', 'b', 'phone')]
    for (const each of [phone, laptop, link('bob', 'c')]) await links.listen(each)
    assert.deepEqual(seen, [])
    await links.listen(next)
    assert.deepEqual(seen, [`${phone.node} superseded by ${next.node}`])
    await assert.rejects(links.listen(link('bob', 'a', 'phone')), { code: 'superseded' })
    await links.unlisten(laptop, 0)
    await links.listen(link('bob', 'a', 'laptop'))
    assert.equal(seen.length, 1)
  },
  'can change to another device, for which they stay registered': async (location) => {
    const { links, seen, link } = await started(location)
    const former = link('bob', 'a', 'phone')
    const changed = { ...former, device: 'laptop', epoch: former.epoch + 1 }
    await links.listen(former)
    await links.listen(changed)
    await links.unlisten(former, 0)
    await links.listen(link('bob', 'b', 'phone'))
    assert.deepEqual(seen, [])
    const next = link('bob', 'b', 'laptop')
    await links.listen(next)
    assert.deepEqual(seen, [`${changed.node} superseded by ${next.node}`])
  },
  'are not among those of other servers': async (location) => {
    const { links, seen, link } = await started(location)
    await links.listen(link('bob'))
    assert.deepEqual([[...links.others()], seen], [[], []])
  },
}

/** Two servers of a storage. */
const twoServers = async (location: LinksLocation, isNotified = true) =>
  [await started(location, isNotified), await started(location, isNotified)] as const

/** The promises about servers that share a storage. */
const sharedChecks: Checks<LinksLocation> = {
  'have different numbers': async (location) => {
    const servers = [...(await twoServers(location)), await started(location)]
    const nodes = servers.flatMap(({ links }) => upTo(30_000).map(() => links.nextNode()))
    assert.equal(new Set(nodes).size, nodes.length)
  },
  'replace each other within a session, also at another server': async (location) => {
    const [first, second] = await twoServers(location)
    const [former, next] = [first.link('alice'), second.link('alice')]
    await first.links.openSession(former, 1)
    await second.links.openSession(next, 2)
    await first.sees(`${former.node} link-replaced`)
    await refusedAgain(first, former)
    first.links.closeSession(former)
    await refusedAgain(first, former)
    assert.deepEqual([first.seen.length, second.seen], [1, []])
  },
  'replace each other within a session even if no notification arrives': async (location) => {
    const [first, second] = await twoServers(location, false)
    const [former, other, next] = [first.link('alice'), first.link('alice', 'b'), second.link('alice')]
    await first.links.openSession(former, 1)
    await first.links.openSession(other, 1)
    await second.links.openSession(next, 2)
    await first.sees(`${former.node} link-replaced`)
    const last = first.link('alice')
    await first.links.openSession(last, 3)
    await second.sees(`${next.node} link-replaced`)
    assert.deepEqual([first.seen.length, second.seen.length], [1, 1])
  },
  'end the registrations of other sessions even if no notification arrives': async (location) => {
    const [first, second] = await twoServers(location, false)
    const [former, next] = [first.link('bob', 'a'), second.link('bob', 'b')]
    await first.links.listen(former)
    await second.links.listen(next)
    await first.sees(`${former.node} superseded`)
  },
  'receive the messages of a user at one of the servers: the next registration ends the former one, and supersedes its session':
    async (location) => {
      const [first, second] = await twoServers(location)
      const [former, next] = [first.link('bob', 'a'), second.link('bob', 'b')]
      await first.links.listen(former)
      const seq = await first.post('bob')
      assert.deepEqual(await second.links.listen(next), { handed: seq })
      await first.sees(`${former.node} superseded`)
      await first.links.unlisten(former, seq)
      await assert.rejects(first.links.listen(first.link('bob', 'a')), { code: 'superseded' })
      const last = first.link('bob', 'b')
      assert.deepEqual(await first.links.listen(last), { handed: seq })
      await second.sees(`${next.node} superseded`)
    },
  'listen for the devices of a user at different servers, even if one of them is taken over or no notification arrives':
    async (location) => {
      for (const isNotified of [true, false]) {
        const [first, second] = await twoServers(location, isNotified)
        const user = `bob ${isNotified}`
        const [phone, laptop] = [first.link(user, 'a', 'phone'), first.link(user, 'a', 'laptop')]
        for (const each of [phone, laptop]) await first.links.listen(each)
        const other = second.link(user, 'b', 'tablet')
        await second.links.listen(other)
        const seq = await first.post(user)
        const next = second.link(user, 'b', 'phone')
        assert.deepEqual(await second.links.listen(next), { handed: seq })
        await first.sees(`${phone.node} superseded`)
        await first.links.unlisten(phone, seq)
        await first.links.unlisten(laptop, 0)
        assert.deepEqual(await second.links.listen(second.link(user, 'b', 'laptop')), { handed: 0 })
        const ended = [first, second].flatMap(({ seen }) => seen.filter((text) => text.includes('superseded')))
        assert.equal(ended.length, 1)
      }
    },
  'stay in the list of the other servers when they change to another device': async (location) => {
    const [first, second] = await twoServers(location)
    const former = first.link('bob', 'a', 'phone')
    await first.links.listen(former)
    await second.sees(`here bob ${former.node}`)
    await first.links.listen({ ...former, device: 'laptop', epoch: former.epoch + 1 })
    await first.links.unlisten(former, 0)
    const eve = first.link('eve')
    await first.links.listen(eve)
    await second.sees(`here eve ${eve.node}`)
    assert.ok(!second.seen.includes(`gone bob ${former.node}`))
    const nodes = Array.from(second.links.others(), ({ node }) => node)
    assert.deepEqual(nodes.sort(), [former.node, eve.node].sort())
  },
  'count only what was sent after a registration was ended, and supersede no session then': async (location) => {
    const [first, second] = await twoServers(location)
    const former = first.link('bob', 'a')
    await first.links.listen(former)
    const seq = await first.post('bob')
    await second.post('bob')
    await first.links.unlisten(former, seq)
    const next = second.link('bob', 'b')
    assert.deepEqual(await second.links.listen(next), { handed: seq })
    await second.links.unlisten(next, seq)
    assert.deepEqual(await first.links.listen(first.link('bob', 'a')), { handed: seq })
    assert.deepEqual(
      first.seen.filter((text) => text.includes('superseded')),
      [],
    )
  },
  'are listed at the other servers while they listen, also at those that start later': async (location) => {
    const [first, second] = await twoServers(location)
    const [bob, eve] = [first.link('bob'), first.link('eve')]
    for (const link of [bob, eve]) await first.links.listen(link)
    await second.sees(`here bob ${bob.node}`)
    await second.sees(`here eve ${eve.node}`)
    const late = await started(location)
    for (const { user, node } of [bob, eve]) await late.sees(`here ${user} ${node}`)
    await first.links.unlisten(bob, 0)
    for (const { sees, links } of [second, late]) {
      await sees(`gone bob ${bob.node}`)
      assert.deepEqual([...links.others()], [{ user: 'eve', node: eve.node }])
    }
    assert.deepEqual(first.seen, [])
  },
  'end with their server, while the links of the other servers stay': async (location) => {
    const [first, second] = await twoServers(location)
    const [bob, eve] = [first.link('bob'), second.link('eve')]
    await first.links.openSession(bob, 1)
    await first.links.listen(bob)
    await second.links.openSession(eve, 1)
    await second.links.listen(eve)
    await second.sees(`here bob ${bob.node}`)
    const seq = await second.post('bob')
    await first.close()
    await second.sees(`gone bob ${bob.node}`)
    await second.sees('a server is lost')
    assert.deepEqual([...second.links.others()], [])
    const next = second.link('bob')
    await second.links.openSession(next, 1)
    assert.deepEqual(await second.links.listen(next), { handed: seq })
    await second.links.unlisten(eve, 0)
    assert.deepEqual(
      second.seen.filter((text) => /superseded|replaced|dead/u.test(text)),
      [],
    )
  },
}

/** Returns the promises of `LinkDirectory` as test cases; those about several servers only if `several` is set. */
export function linksContract(
  name: string,
  open: () => Promise<LinksLocation>,
  { several }: { readonly several: boolean },
): readonly TestCase[] {
  const reason = several ? undefined : 'no other server can share this storage'
  return [
    ...testCasesOf(`the links of a server (${name})`, serverChecks, open),
    ...testCasesOf(`the links of several servers (${name})`, sharedChecks, open, reason),
  ]
}
