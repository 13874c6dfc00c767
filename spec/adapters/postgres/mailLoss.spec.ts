import assert from 'node:assert/strict'
import type { OspError } from '../../../lib/errors.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { ownPostgres, postgresMissing } from '../../support/postgresServer.ts'
import { spec } from '../../support/spec.ts'
import { mailServer, numbered, roomy } from '../cluster/contract/mail.ts'
import { drawing, postUntil, receivedFrom } from './mailLoad.ts'
import { countersOf, type MailRig, mailRig } from './mailRig.ts'

type Server = Awaited<ReturnType<typeof mailServer>>

/** Checks that the counters equal what they count. */
async function counted(rig: MailRig): Promise<void> {
  const { counted, found } = await countersOf(rig)
  assert.deepEqual(counted, found)
}

spec('a change of mailboxes whose answer is lost', (it) => {
  if (databaseMissing !== undefined) return it.skip('takes effect once', databaseMissing)

  /** Runs each step with a lost answer, and checks that it was repeated. */
  async function lost<T>(rig: MailRig, text: string, step: () => Promise<T>): Promise<T> {
    const { unknown } = rig
    rig.proxy.cutAnswerTo(text)
    const result = await rig.run(step)
    assert.ok(rig.unknown > unknown, `no answer to ${text} was lost`)
    return result
  }

  it('takes effect once', async () => {
    await using rig = await mailRig()
    const { mail, server, waiting, seqsOf, link } = await mailServer(rig)
    const bounds = { ...roomy, messages: 3 }
    const messages = upTo(4).map((number) => numbered(number, ['bob', 'eve']))
    const { outcomes } = await lost(rig, 'post_1', () => mail.post(server, messages, bounds))
    assert.deepEqual(outcomes, [undefined, undefined, undefined, { code: 'mailbox-full', recipients: ['bob', 'eve'] }])
    assert.deepEqual([await waiting('bob'), await waiting('eve')], [upTo(3), upTo(3)])
    const [one = 0, two = 0] = await seqsOf('bob')
    await lost(rig, 'answer_1', () => mail.remove(server, [{ user: 'bob', seqs: [one] }]))
    await lost(rig, 'answer_1', () => mail.setAside(server, [{ user: 'bob', seqs: [two] }]))
    assert.deepEqual([await waiting('bob'), await waiting('eve')], [[3], upTo(3)])
    await counted(rig)
    const bob = link('bob', 1)
    const { epoch } = await mail.listen(link('bob', 2, bob.session))
    assert.equal((await lost(rig, 'listen_2', () => mail.listen(bob))).epoch, epoch + 1)
    await lost(rig, 'mail-unlisten', () => mail.unlisten({ user: 'bob', device: '' }, epoch + 1, two))
    assert.deepEqual((await mail.poll(server, [])).listened, [])
    await lost(rig, 'forget_ids_1', () => mail.expire(server, 3, 3, 100))
    assert.deepEqual([await waiting('bob'), await waiting('eve')], [[3], [3]])
    await counted(rig)
  })

  it('takes effect once under load, if many answers are lost', async () => {
    await using rig = await mailRig()
    const servers = await Promise.all(upTo(3).map(() => mailServer(rig)))
    const [first] = servers
    assert.ok(first)
    const posting = servers.map((server, at) => {
      let steps = 0
      const isOver = () => {
        if (steps % 4 === at) rig.proxy.cutAnswerTo('post_1')
        return ++steps > 30
      }
      return postUntil(rig, server, `sender ${at}`, isOver)
    })
    for (const [at, due] of (await Promise.all(posting)).entries()) {
      assert.deepEqual(await receivedFrom(first, `sender ${at}`), due)
    }
    assert.ok(rig.unknown > 10, `${rig.unknown} answers were lost`)
    await counted(rig)
  })
})

spec('mailboxes after a crash of the database server', (it) => {
  if (postgresMissing !== undefined) return it.skip('keep what was stored', postgresMissing)

  it('keep every message that was stored, once and in the order of its sender', async () => {
    await using postgres = await ownPostgres()
    await using rig = await mailRig(postgres.url())
    const servers = await Promise.all(upTo(3).map(() => mailServer(rig)))
    const [first] = servers
    assert.ok(first)
    let isOver = false
    const posting = servers.map((server, at) => postUntil(rig, server, `sender ${at}`, () => isOver))
    for (const crash of upTo(2)) {
      const { unknown } = rig
      // Some messages are stored between two crashes.
      while ((await rig.run(() => first.mail.lastSeq())) < 200 * crash)
        await new Promise((resolve) => setImmediate(resolve))
      await postgres.crash()
      assert.ok(rig.unknown > unknown, 'no step was under way')
    }
    isOver = true
    for (const [at, due] of (await Promise.all(posting)).entries()) {
      assert.deepEqual(await receivedFrom(first, `sender ${at}`), due)
    }
    await counted(rig)
  })
})

spec('changes of mailboxes at the same time', (it) => {
  if (databaseMissing !== undefined) return it.skip('do not deadlock', databaseMissing)

  const listens = (error: OspError) => assert.equal(error.code, 'device-listening')
  const isSuperseded = (error: OspError) => assert.equal(error.code, 'superseded')

  it('do not deadlock, whatever they change', async () => {
    await using rig = await mailRig()
    const servers = await Promise.all(upTo(3).map(() => mailServer(rig)))
    const names = ['', 'phone', 'laptop']
    const change = async ({ mail, server, link }: Server, at: number) => {
      const random = drawing(at)
      const name = (round: number) => `user ${random(3) > 0 ? random(10) : `${round} ${random(20)}`}`
      for (const round of upTo(40)) {
        const messages = upTo(10).map((number) => {
          const to = new Set(upTo(1 + random(8)).map(() => name(round)))
          const receipt = number % 3 === 0
          return numbered(100 * round + number, [...to], { sender: name(round), storedAt: round, receipt })
        })
        const last = await mail.lastSeq()
        const waiting = await rig.sql<{ user: string; seqs: number[] }>(
          `SELECT b.name AS user, array_agg(m.seq)::int[] AS seqs FROM ospd.mail m JOIN ospd.box b ON b.id = m.box
            WHERE b.name LIKE 'user %' GROUP BY b.name`,
        )
        const seqsOf = () =>
          upTo(10).flatMap(() => {
            const { user, seqs } = waiting[random(waiting.length)] ?? { user: '', seqs: [] }
            return user === '' ? [] : { user, seqs: upTo(5).map(() => seqs[random(seqs.length)] ?? 0) }
          })
        const answersOf = () =>
          seqsOf().map((each) => ({ ...each, how: { state: 'handled', device: names[random(3)] } as const }))
        const changes = [
          mail.openDevices(name(round), [names[1 + random(2)] ?? ''], round, 8),
          mail.remove(server, answersOf()),
          mail.setAside(server, answersOf().slice(0, 2)),
          mail.forgetDevices(server, round - 20),
          mail.removeDevice(server, { user: name(round), device: names[random(3)] ?? '' }).catch(listens),
          mail.listen({ ...link(name(round), 2), device: 'phone' }).catch(isSuperseded),
          mail.post(server, messages, roomy),
          mail.remove(server, seqsOf()),
          mail.setAside(server, seqsOf()),
          mail.expire(server, round - 5, round - 3, 7),
          mail
            .listen(link(name(round), 1))
            .then(({ epoch }) => mail.unlisten({ user: 'user 1', device: '' }, epoch, last)),
        ]
        await Promise.all(changes)
      }
    }
    await Promise.all(servers.map(change))
    await counted(rig)
  })
})
