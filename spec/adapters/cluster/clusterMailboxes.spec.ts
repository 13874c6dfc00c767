import assert from 'node:assert/strict'
import { OutcomeUnknown } from '../../../lib/adapters/cluster/steps.ts'
import { MiB } from '../../../lib/limits.ts'
import { receiptMailbox } from '../../../lib/names.ts'
import type { AddressedMessage } from '../../../lib/ports/mailboxes.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import {
  all,
  append,
  long,
  message,
  messageNumbersOf,
  roomy,
  seqsOf,
  waiting,
} from '../../../lib/testing/storage/mailSteps.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'
import { alteredSteps, CutSteps, quietSteps, unansweredSteps } from './alteredSteps.ts'
import { ClusterRig } from './clusterRig.ts'

/** Makes a link of a server the recipient of a user's messages. Resolves with the names that the watchers of the mailboxes get. */
async function listening(rig: ClusterRig, { links, mailboxes }: MailServer, user: string): Promise<string[]> {
  const appended: string[] = []
  mailboxes.watch((name) => appended.push(name))
  const node = links.nextNode()
  await rig.passing(links.listen({ node, user, session: 'a'.repeat(32), device: '', epoch: 1 }))
  return appended
}

type MailServer = Awaited<ReturnType<ClusterRig['server']>>

spec('mailboxes of several servers', (it) => {
  it('are read by one server as soon as another server has appended to them', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    await append(first.mailboxes, message(1), ['bob', 'eve'], roomy)
    await append(second.mailboxes, message(2), ['bob'], roomy)
    assert.deepEqual(await waiting(first.mailboxes, 'bob'), [1, 2])
    assert.deepEqual(await waiting(second.mailboxes, 'bob'), [1, 2])
    const [seq = 0] = await seqsOf(second.mailboxes, 'bob')
    await second.mailboxes.remove('bob', [seq])
    assert.deepEqual(await waiting(first.mailboxes, 'bob'), [2])
    assert.deepEqual(await waiting(first.mailboxes, 'eve'), [1])
  })

  it('report receipts to the watchers of all servers', async () => {
    await using rig = new ClusterRig()
    const servers = [await rig.server(), await rig.server(), await rig.server()] as const
    const told = servers.map(({ mailboxes }) => {
      const users: string[] = []
      mailboxes.watchReceipts((user) => users.push(user))
      return users
    })
    await append(servers[0].mailboxes, message(1, { receipt: true }), ['bob'], roomy)
    await servers[1].mailboxes.remove('bob', await seqsOf(servers[1].mailboxes, 'bob'))
    await pass(rig.clock, 100)
    assert.deepEqual(
      told.map((users) => [...new Set(users)]),
      servers.map(() => ['alice']),
    )
    assert.equal((await waiting(servers[2].mailboxes, receiptMailbox('alice'))).length, 1)
  })

  it('do not return a removed message, even if a read found it before the removal', async () => {
    await using rig = new ClusterRig()
    const isRead = deferred<void>()
    const isRemoved = deferred<void>()
    const { mailboxes } = await rig.server((steps) =>
      alteredSteps(steps, async (name, run) => {
        const result = await run()
        if (name === 'mail.read') {
          isRead.resolve()
          await isRemoved.promise
        }
        return result
      }),
    )
    for (const number of upTo(3)) await append(mailboxes, message(number), ['bob'], roomy)
    const seqs = [1, 2, 3]
    const found = waiting(mailboxes, 'bob')
    await isRead.promise
    await Promise.all([mailboxes.remove('bob', seqs.slice(0, 1)), mailboxes.setAside('bob', seqs.slice(1, 2))])
    isRemoved.resolve()
    assert.deepEqual(await found, [3])
    assert.deepEqual(await waiting(mailboxes, 'bob'), [3])
  })

  it('store a message once if two servers append it at the same time', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    await Promise.all([first, second].map(({ mailboxes }) => append(mailboxes, message(1), ['bob'], roomy)))
    const other = append(second.mailboxes, message(1), ['eve'], roomy)
    await assert.rejects(other, { code: 'id-reused' })
    assert.deepEqual(await waiting(first.mailboxes, 'bob'), [1])
  })

  it('store no message of a link whose session has a later link at another server', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const session = { user: 'alice', session: 'a'.repeat(32) }
    const [former, present] = [first, second].map(({ links }) => ({ ...session, node: links.nextNode() }))
    assert.ok(former && present)
    await rig.passing(first.links.openSession(former, 1))
    const to = (number: number) => [{ ...message(number), recipients: ['bob'] }]
    assert.deepEqual(await first.mailboxes.append(to(1), roomy, former), [undefined])
    await rig.passing(second.links.openSession(present, 2))
    const [error] = await first.mailboxes.append(to(2), roomy, former)
    assert.equal(error?.code, 'link-lost')
    assert.deepEqual(await waiting(second.mailboxes, 'bob'), [1])
    assert.deepEqual(await second.mailboxes.append(to(2), roomy, present), [undefined])
    assert.deepEqual(await waiting(second.mailboxes, 'bob'), [1, 2])
  })

  it('keep their limits and the order of each sender while three servers append', async () => {
    await using rig = new ClusterRig()
    const servers = [await rig.server(), await rig.server(), await rig.server()]
    const bounds = { ...roomy, messages: 50 }
    const appends = servers.flatMap(({ mailboxes }, at) =>
      upTo(30).map((number) => {
        return append(mailboxes, message(number, { sender: `sender ${at}` }), ['bob'], bounds).catch(({ code }) => code)
      }),
    )
    const outcomes = await Promise.all(appends)
    assert.equal(outcomes.filter((code) => code === undefined).length, 50)
    assert.equal(outcomes.filter((code) => code === 'mailbox-full').length, 40)
    const found = await all(servers[0]?.mailboxes ?? assert.fail(), 'bob')
    for (const at of servers.keys()) {
      const own = messageNumbersOf(found.filter(({ sender }) => sender === `sender ${at}`))
      assert.deepEqual(own, upTo(own.length))
    }
  })

  it('wake the server at which the recipient listens, at once by a notification', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    const appended = await listening(rig, second, 'bob')
    await append(first.mailboxes, message(1), ['bob', 'eve'], roomy)
    await turn()
    assert.deepEqual(appended, ['bob'])
  })

  it('wake it within a second if a notification is lost, once for each message', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(quietSteps), await rig.server()]
    const appended = await listening(rig, second, 'bob')
    await append(first.mailboxes, message(1), ['bob'], roomy)
    await pass(rig.clock, 1_000)
    assert.deepEqual(appended, ['bob'])
    await pass(rig.clock, 1_000)
    assert.deepEqual(appended, ['bob'])
    await append(first.mailboxes, message(2), ['bob'], roomy)
    await pass(rig.clock, 1_000)
    assert.deepEqual(appended, ['bob', 'bob'])
  })

  it('wake it within 100 ms if it receives no notifications at all', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(quietSteps), await rig.server(quietSteps)]
    const appended = await listening(rig, second, 'bob')
    for (let at = 0; at < 4; at++) await pass(rig.clock, 1_000)
    await append(first.mailboxes, message(1), ['bob'], roomy)
    await pass(rig.clock, 100)
    assert.deepEqual(appended, ['bob'])
  })

  it('are read again after notifications may have been lost', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(quietSteps), await rig.server()]
    const appended = await listening(rig, second, 'bob')
    await append(first.mailboxes, message(1), ['bob'], roomy)
    assert.deepEqual(appended, [])
    await second.member.tell(second.member.server, { kind: 'unknown' })
    await turn()
    assert.deepEqual(appended, ['bob'])
  })

  it('expire by the slowest age clock of the servers', async () => {
    await using rig = new ClusterRig()
    const [first, second] = [await rig.server(), await rig.server()]
    await append(first.mailboxes, message(1, { storedAt: 450_000 }), ['bob'], roomy)
    await append(second.mailboxes, message(2, { storedAt: 500_000 }), ['bob'], roomy)
    await pass(rig.clock, 2_000)
    assert.deepEqual(await first.mailboxes.expire(1_000_000, 900_000, 900_000), [])
    assert.deepEqual(await waiting(first.mailboxes, 'bob'), [1, 2])
    await append(second.mailboxes, message(3, { storedAt: 950_000 }), ['bob'], roomy)
    await pass(rig.clock, 2_000)
    assert.deepEqual(await first.mailboxes.expire(1_000_000, 900_000, 900_000), [{ user: 'bob', messages: 2 }])
    assert.deepEqual(await waiting(first.mailboxes, 'bob'), [3])
  })

  it('count a mailbox that has refused a message as full for a second, or until messages are removed', async () => {
    await using rig = new ClusterRig()
    const { mailboxes } = await rig.server()
    const bounds = { ...roomy, messages: 1 }
    const post = { ...message(2), recipients: ['eve', 'bob'] }
    assert.deepEqual(mailboxes.full([post]), [])
    const refuse = async () => {
      await assert.rejects(append(mailboxes, message(2), ['eve', 'bob'], bounds), { code: 'mailbox-full' })
      assert.deepEqual(mailboxes.full([post]), ['bob'])
    }
    await append(mailboxes, message(1), ['bob'], bounds)
    await refuse()
    await pass(rig.clock, 1_000)
    assert.deepEqual(mailboxes.full([post]), [])
    await refuse()
    await mailboxes.remove('bob', await seqsOf(mailboxes, 'bob'))
    assert.deepEqual(mailboxes.full([post]), [])
  })
})

spec('the devices of a user at one server of a cluster', (it) => {
  it('read messages while the answer of another device is stored', async () => {
    await using rig = new ClusterRig()
    const { mailboxes, links } = await rig.server()
    await rig.passing(mailboxes.devices.open('bob', ['phone', 'laptop'], 0, 8))
    await append(mailboxes, message(1), ['bob'], roomy)
    const [seq = 0] = await seqsOf(mailboxes, 'bob')
    const readers = ['phone', 'laptop'].map((device, at) => {
      return { node: links.nextNode(), user: 'bob', session: `${at}`.repeat(32), device, epoch: at + 1 }
    })
    for (const reader of readers) await rig.passing(links.listen(reader))
    const removed = mailboxes.remove('bob', [seq], false, { state: 'handled', device: 'phone' })
    const reads = readers.map((reader) => mailboxes.read('bob', 0, 9, 9_000, reader))
    const [phone, laptop] = await rig.passing(Promise.all(reads))
    assert.deepEqual([phone?.length, laptop?.length], [0, 1])
    await rig.passing(removed)
  })
})

spec('the steps of mailboxes', (it) => {
  it('take effect once if their outcome is unknown', async () => {
    await using rig = new ClusterRig()
    const lost: string[] = []
    const { mailboxes, member } = await rig.server((steps) => unansweredSteps(steps, lost))
    const outcomes = await rig.passing(
      mailboxes.append(
        upTo(3).map((n) => ({ ...message(n), recipients: ['bob'] })),
        roomy,
      ),
    )
    assert.deepEqual(outcomes, [undefined, undefined, undefined])
    const seqs = await rig.passing(seqsOf(mailboxes, 'bob'))
    assert.equal(seqs.length, 3)
    await rig.passing(mailboxes.remove('bob', seqs.slice(0, 1)))
    await rig.passing(mailboxes.setAside('bob', seqs.slice(1, 2)))
    assert.deepEqual(await rig.passing(waiting(mailboxes, 'bob')), [3])
    const link = { server: member.server, link: 1, user: 'bob', session: 'a'.repeat(32), device: '' }
    const { epoch } = await rig.passing(member.run(({ mail }) => mail.listen(link)))
    assert.equal(epoch, 1)
    await rig.passing(member.run(({ mail }) => mail.unlisten({ user: 'bob', device: '' }, epoch, 3)))
    await rig.passing(mailboxes.expire(10, 10, 10))
    assert.deepEqual(await rig.passing(mailboxes.levels()), [])
    for (const name of ['enter', 'mail.post', 'mail.read', 'mail.remove', 'mail.setAside', 'mail.listen']) {
      assert.ok(lost.includes(name), `${name} was not lost`)
    }
  })

  it('have at most 500 messages, 4 MiB and 2,000 deliveries, one step at a time, in the order of the calls', async () => {
    await using rig = new ClusterRig()
    const batches: number[] = []
    let isPosting = false
    const { mailboxes } = await rig.server((steps) =>
      alteredSteps(steps, async (name, run, given) => {
        if (name !== 'mail.post') return run()
        const messages = given[1] as readonly AddressedMessage[]
        const bytes = messages.reduce((sum, { content }) => sum + content.length, 0)
        const deliveries = messages.reduce((sum, { recipients }) => sum + recipients.length, 0)
        assert.ok(!isPosting && bytes <= 4 * MiB && deliveries <= 2_000)
        batches.push(messages.length)
        isPosting = true
        await turn()
        isPosting = false
        return run()
      }),
    )
    const sixteen = upTo(16).map((number) => `user ${number}`)
    await Promise.all([
      ...upTo(1_100).map((number) => append(mailboxes, message(number), ['bob'], roomy)),
      mailboxes.append(
        upTo(300).map((at) => ({ ...message(1_100 + at), recipients: sixteen })),
        roomy,
      ),
      ...upTo(90).map((at) => append(mailboxes, long(1_400 + at, 60_000), ['eve'], roomy)),
    ])
    assert.deepEqual(batches.slice(0, 2), [500, 500])
    assert.ok(batches.length < 12, `there are ${batches.length} steps`)
    assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(1_100))
    assert.deepEqual(
      await waiting(mailboxes, 'user 16'),
      upTo(300).map((at) => 1_100 + at),
    )
  })

  it('reject each message of a batch if the store does not answer for 30 seconds', async () => {
    await using rig = new ClusterRig()
    let isCut = false
    const { mailboxes } = await rig.server((steps) =>
      alteredSteps(steps, async (name, run) => {
        if (isCut && name === 'mail.post') throw new OutcomeUnknown('no connection')
        return run()
      }),
    )
    isCut = true
    const outcomes = mailboxes.append([{ ...message(1), recipients: ['bob'] }], roomy)
    const [error] = await rig.passing(outcomes)
    assert.equal(error?.code, 'internal')
    isCut = false
    await rig.passing(append(mailboxes, message(1), ['bob'], roomy))
    assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
  })

  it('store no message of a link after one whose outcome is unknown, until it has another link', async () => {
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const server = await rig.server(cut.alter)
    const by = { user: 'alice', session: 'a'.repeat(32), node: server.links.nextNode() }
    await rig.passing(server.links.openSession(by, 1))
    const post = async (number: number, link = by) => {
      const [error] = await server.mailboxes.append([{ ...message(number), recipients: ['bob'] }], roomy, link)
      return error?.code
    }
    cut.isCut = true
    const first = post(1)
    await turn()
    const second = post(2)
    assert.equal(await rig.passing(first), 'internal')
    assert.equal(await rig.passing(second), 'link-lost')
    cut.isCut = false
    assert.equal(await rig.passing(post(3)), 'link-lost')
    const next = { ...by, node: server.links.nextNode() }
    await rig.passing(server.links.openSession(next, 2))
    assert.equal(await rig.passing(post(1, next)), undefined)
    assert.deepEqual(await rig.passing(waiting(server.mailboxes, 'bob')), [1])
  })

  it('remove messages whose removal may wait within 20 ms, together with others', async () => {
    await using rig = new ClusterRig()
    let removals = 0
    const { mailboxes } = await rig.server((steps) =>
      alteredSteps(steps, async (name, run) => {
        if (name === 'mail.remove') removals++
        return run()
      }),
    )
    for (const number of upTo(5)) await append(mailboxes, message(number), ['bob'], roomy)
    const seqs = await seqsOf(mailboxes, 'bob')
    const removed = Promise.all(seqs.map((seq) => mailboxes.remove('bob', [seq], true)))
    await turn()
    assert.deepEqual([removals, await waiting(mailboxes, 'bob')], [0, []])
    await pass(rig.clock, 20)
    await removed
    assert.deepEqual([removals, await mailboxes.levels()], [1, []])
  })
})
