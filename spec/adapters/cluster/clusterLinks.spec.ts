import assert from 'node:assert/strict'
import { linkBlockSize, OutcomeUnknown } from '../../../lib/adapters/cluster/steps.ts'
import { OspError } from '../../../lib/errors.ts'
import type { ListeningLink } from '../../../lib/ports/links.ts'
import { message, messageNumbersOf, roomy } from '../../../lib/testing/storage/mailSteps.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'
import { alteredSteps, CutSteps, quietSteps, unansweredSteps } from './alteredSteps.ts'
import { ClusterRig } from './clusterRig.ts'

const sessionOf = (number: number) => number.toString(16).padStart(32, '0')

type LinkServer = Awaited<ReturnType<ClusterRig['server']>>

/** Returns a new link of a server. */
const linkAt = ({ links }: LinkServer, user: string, session = 1): ListeningLink => {
  const node = links.nextNode()
  return { node, user, session: sessionOf(session), device: '', epoch: node }
}

/** Makes a new link of a server the recipient of a user's messages. */
async function listening(rig: ClusterRig, server: LinkServer, user: string, session = 1) {
  const link = linkAt(server, user, session)
  const { handed } = await rig.passing(server.links.listen(link))
  return { link, handed }
}

/** Opens a new link of a server and registers it. Resolves with its number, or with the code of the refusal. */
async function registering(server: LinkServer, user: string, session: number, attempt = 1): Promise<number | string> {
  const link = linkAt(server, user, session)
  try {
    await server.links.openSession(link, attempt)
    await server.links.listen(link)
    return link.node
  } catch (error) {
    return OspError.from(error).code
  }
}

/** Lets seconds pass. */
async function seconds(rig: ClusterRig, count: number): Promise<void> {
  for (let at = 0; at < 10 * count; at++) await pass(rig.clock, 100)
}

/** Posts messages to bob. Resolves with the seq of the last one. */
async function post({ member }: LinkServer, ...numbers: number[]): Promise<number> {
  const messages = numbers.map((number) => ({ ...message(number), recipients: ['bob'] }))
  await member.run(({ mail }) => mail.post(member.server, messages, roomy))
  return member.run(({ mail }) => mail.lastSeq())
}

spec('the links of several servers', (it) => {
  it('have different numbers, even after many links', async () => {
    await using rig = new ClusterRig()
    const servers = [await rig.server(), await rig.server(), await rig.server()]
    const nodes = new Set<number>()
    for (let at = 0; at < 3; at++) {
      for (const { links } of servers) {
        for (let count = 0; count < linkBlockSize / 2; count++) nodes.add(links.nextNode())
      }
      await turn()
    }
    assert.equal(nodes.size, (9 * linkBlockSize) / 2)
  })

  it('of one session replace each other, also at another server', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const [old, next] = [linkAt(first, 'alice'), linkAt(second, 'alice')]
    await first.links.openSession(old, 1)
    await second.links.openSession(next, 2)
    await turn()
    assert.deepEqual([first.seen, second.seen], [[`${old.node} link-replaced by 0`], []])
    await assert.rejects(first.links.openSession(linkAt(first, 'alice'), 1), { code: 'link-replaced' })
  })

  it('of one session at the same server replace each other before the later one is open', async () => {
    await using rig = new ClusterRig()
    const server = await rig.server()
    const [old, next] = [linkAt(server, 'alice'), linkAt(server, 'alice')]
    await server.links.openSession(old, 1)
    await server.links.openSession(next, 1)
    assert.deepEqual(server.seen, [`${old.node} link-replaced by ${next.node}`])
    server.links.closeSession(old)
    server.links.closeSession(next)
    await turn()
    await server.links.openSession(linkAt(server, 'alice'), 0)
    assert.equal(server.seen.length, 1)
  })
})

for (const [how, alter] of [
  ['by notifications', undefined],
  ['by polling alone', quietSteps],
] as const) {
  spec(`registrations of several servers, ${how}`, (it) => {
    it('are superseded by a registration of another session at another server', async () => {
      await using rig = new ClusterRig()
      const [first, second] = [await rig.server(alter), await rig.server(alter)]
      const { link } = await listening(rig, first, 'bob', 1)
      const seq = await post(first, 1, 2)
      const { handed } = await listening(rig, second, 'bob', 2)
      assert.equal(handed, seq)
      await seconds(rig, 2)
      assert.equal(first.seen.filter((text) => text === `${link.node} superseded by 0`).length, 1)
      await rig.passing(first.links.unlisten(link, seq))
      await assert.rejects(rig.passing(first.links.listen(linkAt(first, 'bob', 1))), { code: 'superseded' })
    })

    it('are in the lists of the other servers until they end', async () => {
      await using rig = new ClusterRig()
      const [first, second] = [await rig.server(alter), await rig.server(alter)]
      const { link: bob } = await listening(rig, first, 'bob')
      const { link: eve } = await listening(rig, first, 'eve', 2)
      await seconds(rig, 2)
      assert.deepEqual(second.seen, [`here bob ${bob.node}`, `here eve ${eve.node}`])
      const late = await rig.server(alter)
      await seconds(rig, 2)
      assert.deepEqual(new Set([...late.links.others()].map(({ user }) => user)), new Set(['bob', 'eve']))
      await rig.passing(first.links.unlisten(bob, 0))
      await seconds(rig, 2)
      assert.equal(second.seen.at(-1), `gone bob ${bob.node}`)
      assert.deepEqual([...late.links.others()], [{ user: 'eve', node: eve.node }])
      assert.deepEqual(first.seen, [])
    })
  })
}

spec('a registration in a cluster', (it) => {
  it('that was ended properly leaves unsent messages as new', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const { link, handed } = await listening(rig, first, 'bob', 1)
    assert.equal(handed, 0)
    const seq = await post(first, 1)
    await post(first, 2)
    await rig.passing(first.links.unlisten(link, seq))
    assert.equal((await listening(rig, second, 'bob', 2)).handed, seq)
    await listening(rig, second, 'bob', 1)
  })

  it('is not ended by the late end of a former registration', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const { link } = await listening(rig, first, 'bob', 1)
    await listening(rig, second, 'bob', 2)
    await rig.passing(first.links.unlisten(link, 0))
    const { listened } = await second.member.run(({ mail }) => mail.poll(second.member.server, []))
    assert.deepEqual(
      listened.map(({ user }) => user),
      ['bob'],
    )
    await seconds(rig, 2)
    assert.deepEqual(second.seen, [`here bob ${link.node}`, `gone bob ${link.node}`])
  })

  it('that another registration has replaced reads no more messages', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const { link } = await listening(rig, first, 'bob', 1)
    await post(first, 1)
    const readAt = async ({ mailboxes }: LinkServer, by: ListeningLink) =>
      messageNumbersOf(await mailboxes.read('bob', 0, 9, 9_000, by))
    assert.deepEqual(await readAt(first, link), [1])
    const { link: next } = await listening(rig, second, 'bob', 2)
    await post(first, 2)
    assert.deepEqual([await readAt(first, link), await readAt(second, next)], [[], [1, 2]])
    await rig.passing(second.links.unlisten(next, 0))
    assert.deepEqual(await readAt(second, next), [])
  })

  it('whose answer from the store was lost is ended', async () => {
    await using rig = new ClusterRig()
    const server = await rig.server()
    const link = { server: server.member.server, link: 7, user: 'bob', session: sessionOf(1), device: '' }
    await server.member.run(({ mail }) => mail.listen(link))
    await seconds(rig, 2)
    const polled = await server.member.run(({ mail }) => mail.poll(server.member.server, []))
    assert.deepEqual(polled.listened, [])
  })

  it('begins and ends once if outcomes are unknown', async () => {
    await using rig = new ClusterRig()
    const lost: string[] = []
    const server = await rig.server((steps) => unansweredSteps(steps, lost))
    const other = await rig.server()
    const link = linkAt(server, 'bob')
    await rig.passing(server.links.openSession(link, 1))
    await rig.passing(server.links.listen(link))
    await seconds(rig, 2)
    assert.deepEqual(other.seen, [`here bob ${link.node}`])
    await rig.passing(server.links.unlisten(link, 0))
    server.links.closeSession(link)
    await seconds(rig, 2)
    assert.deepEqual(other.seen, [`here bob ${link.node}`, `gone bob ${link.node}`])
    assert.deepEqual(server.seen, [])
    const next = { ...link, server: other.member.server, link: other.links.nextNode() }
    assert.equal(await other.member.run((steps) => steps.openSession(next, 0)), undefined)
    for (const name of [
      'openSession',
      'closeSession',
      'mail.listen',
      'mail.unlisten',
      'present',
      'renew',
      'linkBlock',
    ]) {
      assert.ok(lost.includes(name), `${name} was not lost`)
    }
  })
})

spec('a server of a cluster', (it) => {
  it('that is dead leaves the lists of the other servers, and its registrations end', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const [first, second] = [await rig.server(cut.alter), await rig.server()]
    const { link } = await listening(rig, first, 'bob', 1)
    const seq = await post(second, 1)
    await seconds(rig, 15)
    assert.deepEqual([...second.links.others()], [{ user: 'bob', node: link.node }])
    cut.isCut = true
    await seconds(rig, 13)
    assert.deepEqual(second.seen.slice(-2), [`gone bob ${link.node}`, 'a server is lost'])
    assert.deepEqual([...second.links.others()], [])
    assert.equal((await listening(rig, second, 'bob', 2)).handed, seq)
    await listening(rig, second, 'bob', 1)
  })

  it('that was declared dead ends its links, and joins again as a new server', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const [first, second] = [await rig.server(cut.alter), await rig.server()]
    const { link } = await listening(rig, first, 'bob', 1)
    await seconds(rig, 15)
    const before = first.member.server
    cut.isCut = true
    await seconds(rig, 13)
    cut.isCut = false
    await seconds(rig, 3)
    assert.ok(first.seen.includes('declared dead'))
    assert.ok(first.member.server > before)
    await rig.passing(first.links.unlisten(link, 0))
    const { link: next } = await listening(rig, first, 'bob', 1)
    await seconds(rig, 2)
    assert.equal(second.seen.at(-1), `here bob ${next.node}`)
    assert.equal(first.seen.filter((text) => text === 'declared dead').length, 1)
  })

  it('ends its links if it cannot reach the store for 30 seconds, and joins again', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const server = await rig.server(cut.alter)
    assert.equal(server.member.problem, undefined)
    cut.isCut = true
    await seconds(rig, 5)
    assert.equal(server.member.problem, undefined)
    await seconds(rig, 2)
    assert.match(server.member.problem ?? '', /^the database of the cluster has not renewed the lease .* for [67] s$/u)
    await seconds(rig, 22)
    assert.deepEqual(server.seen, [])
    await seconds(rig, 5)
    assert.deepEqual(server.seen, ['declared dead'])
    assert.equal(server.member.problem, 'this server has no lease in the database of the cluster')
    cut.isCut = false
    await seconds(rig, 5)
    assert.equal(server.member.problem, undefined)
    await listening(rig, server, 'bob')
    await seconds(rig, 20)
    // Another server completes the uploads of the former one.
    assert.deepEqual(server.seen, ['declared dead', 'a server is lost'])
  })

  it('that joins again after an outage waits 15 seconds before it declares other servers dead', async () => {
    await using rig = new ClusterRig()
    const cuts = [new CutSteps(), new CutSteps()]
    const [first, second] = [await rig.server(cuts[0]?.alter), await rig.server(cuts[1]?.alter)]
    const isDead = async () => {
      const servers = await first.member.run((steps) => steps.servers())
      return servers.find(({ server }) => server === second.member.server)?.isDead
    }
    await seconds(rig, 20)
    for (const cut of cuts) cut.isCut = true
    await seconds(rig, 40)
    assert.deepEqual(first.seen, ['declared dead'])
    for (const cut of cuts.slice(0, 1)) cut.isCut = false
    await seconds(rig, 14)
    assert.equal(first.member.problem, undefined)
    assert.equal(await isDead(), false)
    await seconds(rig, 6)
    assert.equal(await isDead(), true)
  })

  it('supersedes nobody after an outage of 40 seconds, and registers clients that wait and new ones', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const servers = [await rig.server(cut.alter), await rig.server(cut.alter)]
    const [first, second] = servers
    assert.ok(first && second)
    const links = []
    for (const [at, user] of ['amy', 'bob', 'cid', 'dan'].entries()) {
      const server = at % 2 === 0 ? first : second
      const link = linkAt(server, user, at)
      await server.links.openSession(link, 1)
      await rig.passing(server.links.listen(link))
      links.push({ server, link })
    }
    await seconds(rig, 20)
    const numbers = servers.map(({ member }) => member.server)
    cut.isCut = true
    // One that waits before the server gives up its number, and one that comes after that, as each client connects again.
    await seconds(rig, 20)
    const early = registering(first, 'eve', 8)
    await seconds(rig, 15)
    for (const { seen } of servers) assert.equal(seen.at(-1), 'declared dead')
    const ended = links.map(({ server, link }) => server.links.unlisten(link, 0))
    const late = links.map(({ server, link }, at) => registering(server, link.user, at, 2))
    await seconds(rig, 5)
    cut.isCut = false
    await seconds(rig, 5)
    assert.equal(await early, 'link-lost')
    const present = await Promise.all(late)
    await Promise.all(ended)
    const again = await rig.passing(registering(first, 'eve', 8, 2))
    await seconds(rig, 60)
    for (const [at, { member, seen }] of servers.entries()) {
      assert.notEqual(member.server, numbers[at])
      assert.deepEqual(
        seen.filter((text) => /superseded|replaced/u.test(text)),
        [],
      )
      assert.equal(seen.filter((text) => text === 'declared dead').length, 1)
    }
    const others = (at: 0 | 1) => [...(servers[at]?.links.others() ?? [])].map(({ node }) => node).sort((a, b) => a - b)
    assert.deepEqual(others(1), [present[0], present[2], again])
    assert.deepEqual(others(0), [present[1], present[3]])
  })

  it('logs its entry, an outage of the store, the loss of its lease, and the death of another server', async () => {
    await using rig = new ClusterRig()
    const [cut, other] = [new CutSteps(), new CutSteps()]
    const [server, second] = [await rig.server(cut.alter), await rig.server(other.alter)]
    const { member, logged } = server
    const { server: former } = member
    const events = () => logged.splice(0).map(({ text: _, ...entry }) => entry)
    await seconds(rig, 16)
    assert.deepEqual(events(), [{ level: 'info', event: 'cluster-entered', server: former, former: undefined }])
    cut.isCut = true
    await seconds(rig, 2)
    assert.deepEqual(events(), [])
    await seconds(rig, 3)
    assert.deepEqual(events(), [{ level: 'error', event: 'cluster-database-lost' }])
    cut.isCut = false
    await seconds(rig, 2)
    const [back, ...others] = events()
    assert.deepEqual([back?.event, others], ['cluster-database-back', []])
    assert.ok(Number(back?.ms) >= 3_000 && Number(back?.ms) <= 7_000, `${back?.ms} ms`)
    cut.isCut = true
    other.isCut = true
    await seconds(rig, 40)
    assert.deepEqual(events(), [
      { level: 'error', event: 'cluster-database-lost' },
      { level: 'error', event: 'cluster-lease-lost', server: former },
    ])
    cut.isCut = false
    await seconds(rig, 20)
    const [again, entered, ...last] = events()
    assert.equal(again?.event, 'cluster-database-back')
    assert.deepEqual(entered, { level: 'info', event: 'cluster-entered', server: member.server, former })
    assert.deepEqual(last, [{ level: 'warn', event: 'cluster-server-dead', server: second.member.server }])
  })

  it('ends its links and enters again with a new number if the store has gone back to an earlier state', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const [server, other] = [await rig.server(cut.alter), await rig.server()]
    const { member, mailboxes, seen, logged } = server
    const { server: former } = member
    const post = (number: number) => rig.passing(mailboxes.append([{ ...message(number), recipients: ['bob'] }], roomy))
    await post(1)
    const restore = rig.store.saved()
    await post(2)
    await post(3)
    const seq = await rig.passing(mailboxes.lastSeq())
    const {
      link: { node },
    } = await listening(rig, server, 'bob')
    await seconds(rig, 2)
    cut.isCut = true
    await restore()
    await seconds(rig, 3)
    cut.isCut = false
    await seconds(rig, 6)
    const entries = logged.map(({ text: _, ...entry }) => entry)
    const [entered, back, again, ...others] = entries.filter(({ event }) => !/database-(lost|back)/u.test(event))
    assert.equal(entered?.event, 'cluster-entered')
    assert.deepEqual(back, { level: 'error', event: 'cluster-database-went-back', server: former, messages: 2 })
    assert.deepEqual([again?.event, again?.server, others], ['cluster-entered', member.server, []])
    assert.notEqual(member.server, former)
    assert.deepEqual([...other.links.others()], [])
    assert.deepEqual(
      seen.filter((text) => text === 'declared dead' || text.startsWith(`${node}`)),
      ['declared dead'],
    )
    await post(4)
    assert.ok((await rig.passing(mailboxes.lastSeq())) > seq)
  })

  it('compares the store again if it goes back once more before its numbers are raised', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    // A standby is promoted while the numbers are raised. Until the server compares again, its steps are rejected.
    let state: 'same' | 'back' | 'back again' = 'same'
    const promoted = async (name: string, run: () => Promise<unknown>) => {
      if (name === 'raise' && state === 'back') state = 'back again'
      if (name === 'compare' && state === 'back again') state = 'same'
      if (state === 'back again') throw new OutcomeUnknown('a standby of the database was promoted')
      return run()
    }
    const server = await rig.server((steps) => alteredSteps(cut.alter(steps), promoted))
    const { member, logged } = server
    const { server: former } = member
    const restore = rig.store.saved()
    await rig.passing(server.mailboxes.append([{ ...message(1), recipients: ['bob'] }], roomy))
    cut.isCut = true
    await restore()
    state = 'back'
    await seconds(rig, 3)
    cut.isCut = false
    await seconds(rig, 20)
    const back = logged.filter(({ event }) => event === 'cluster-database-went-back')
    assert.deepEqual(
      back.map(({ messages }) => messages),
      [1],
    )
    assert.notEqual(member.server, former)
    await rig.passing(server.mailboxes.append([{ ...message(2), recipients: ['bob'] }], roomy))
  })

  it('renews its lease after it has declared another server dead, even if a poll takes longer than the poll interval', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    await rig.server(cut.alter)
    let stepMs = 0
    const slow = async (name: string, run: () => Promise<unknown>) => {
      // No poll is in progress when the step ends.
      const ms = name === 'declareDead' ? 150 - (rig.clock.now() % 100) : stepMs
      if (ms > 0) await new Promise<void>((resolve) => rig.clock.alarm(rig.clock.now() + ms, resolve))
      const result = await run()
      if (name === 'declareDead' && Array.isArray(result) && result.length > 0) stepMs = 60
      return result
    }
    const second = await rig.server((steps) => alteredSteps(quietSteps(steps), slow))
    await seconds(rig, 20)
    cut.isCut = true
    for (let passed = 0; passed < 4_000; passed++) {
      await pass(rig.clock, 10)
      assert.equal(second.member.problem, undefined)
    }
    assert.equal(second.seen.at(-1), 'a server is lost')
  })

  it('is not declared dead after an outage of the store', async () => {
    await using rig = new ClusterRig()
    const cuts = [new CutSteps(), new CutSteps(), new CutSteps()]
    const servers = await Promise.all(cuts.map(({ alter }) => rig.server(alter)))
    for (const [at, server] of servers.entries()) await listening(rig, server, `user ${at}`)
    await seconds(rig, 20)
    for (const cut of cuts) cut.isCut = true
    await seconds(rig, 20)
    // They reach the store again one after another.
    for (const cut of cuts) {
      cut.isCut = false
      await seconds(rig, 3)
    }
    await seconds(rig, 20)
    for (const { seen, links } of servers) {
      assert.deepEqual(
        seen.filter((text) => !text.startsWith('here')),
        [],
      )
      assert.equal([...links.others()].length, 2)
    }
  })

  it('that leaves is missing in the lists of the other servers after their next poll', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const { link } = await listening(rig, first, 'bob', 1)
    await seconds(rig, 1)
    await first.member[Symbol.asyncDispose]()
    await seconds(rig, 2)
    assert.deepEqual(second.seen, [`here bob ${link.node}`, `gone bob ${link.node}`, 'a server is lost'])
  })
})
