import assert from 'node:assert/strict'
import { OutcomeUnknown } from '../../../lib/adapters/cluster/steps.ts'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { migrate } from '../../../lib/adapters/postgres/schema.ts'
import { message, roomy } from '../../../lib/testing/storage/mailSteps.ts'
import { ownPostgres, postgresMissing } from '../../support/postgresServer.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs, newSession } from '../cluster/contract/fixture.ts'
import { answered, claimed } from './uploadLoad.ts'

spec('a standby without the latest commits', (it) => {
  if (postgresMissing !== undefined) return it.skip('uses no number twice', postgresMissing)

  it('uses no number twice after its promotion, before any server that has seen the lost ones is connected', async () => {
    await using postgres = await ownPostgres()
    await using database = new Database({ url: postgres.url() })
    await database.open()
    await migrate(database)
    const used = async () => {
      await using steps = postgresSteps({ url: postgres.url() })
      await steps.open()
      const server = await steps.enter(infoOf('a server'), longMs)
      const by = { server, link: 1, user: 'alice', session: newSession() }
      await steps.openSession(by, 1)
      await steps.mail.post(server, [{ ...message(server), recipients: ['bob'] }], roomy)
      const { token } = await claimed(steps, by, 'a')
      const numbers = [server, await steps.mail.lastSeq(), token, await steps.linkBlock()]
      return { numbers, users: (await database.query<{ version: number }>(readUsers))[0]?.version ?? 0 }
    }
    const first = await used()
    await postgres.save()
    await answered(() => database.query(readUsers))
    const lost = await used()
    await postgres.failOver()
    await answered(() => database.query(readUsers))
    const after = await used()
    const later = await used()
    for (const [at, number] of lost.numbers.entries()) {
      const [before = 0, raised = 0, next = 0] = [first, after, later].map(({ numbers }) => numbers[at])
      assert.ok(before < number && number < raised && raised < next, `${before}, ${number}, ${raised}, ${next}`)
    }
    assert.ok(after.users > lost.users && later.users === after.users)
  })

  it('rejects the steps of a server until it has compared the database with what it has seen', async () => {
    await using postgres = await ownPostgres()
    await using database = new Database({ url: postgres.url() })
    await database.open()
    await migrate(database)
    await using steps = postgresSteps({ url: postgres.url() })
    await steps.open()
    const info = infoOf('a server')
    const server = await steps.enter(info, longMs)
    const post = (number: number) =>
      steps.mail.post(server, [{ ...message(number), recipients: ['bob'] }], roomy).then(({ stored }) => stored)
    await post(1)
    const nothing = { stored: 0, presenceVersion: 0, seq: 0, token: 0, linkBlock: 0 }
    const { timeline: former } = await steps.compare(server, info.boot, nothing)
    await postgres.save()
    assert.equal(await answered(() => post(2)), 2)
    await postgres.failOver()
    for (let times = 0; times < 5; times++) await assert.rejects(post(3), OutcomeUnknown)
    const compared = await answered(() => steps.compare(server, info.boot, { ...nothing, stored: 2 }))
    const { timeline, ...found } = compared
    assert.deepEqual(found, { isBehind: true, messages: 1, isMember: true })
    assert.notEqual(timeline, former)
    assert.equal(await post(3), 2)
  })
})

const readUsers = { name: 'users-version', text: 'SELECT version FROM ospd.users_version' }
