import assert from 'node:assert/strict'
import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { migrate } from '../../../lib/adapters/postgres/schema.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { ownPostgres, postgresMissing } from '../../support/postgresServer.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs, newSession } from '../cluster/contract/fixture.ts'
import { answered, claimed, fileOf, uploadUntil } from './uploadLoad.ts'

async function migratedSteps(url: string): Promise<Steps> {
  await using database = new Database({ url })
  await database.open()
  await migrate(database)
  const steps = postgresSteps({ url })
  await steps.open()
  return steps
}

spec('a crash of the database', (it) => {
  if (postgresMissing !== undefined) return it.skip('loses nothing that was acknowledged', postgresMissing)

  it('loses no acknowledged claim, checkpoint or completion, also under load, and repeats no token or block of link numbers', async () => {
    await using postgres = await ownPostgres()
    await using steps = await migratedSteps(postgres.url())
    const { transfers } = steps
    const server = await steps.enter(infoOf('a'), longMs)
    const by = { server, link: 1, user: 'alice', session: newSession() }
    await steps.openSession(by, 1)
    const blocks = () => Promise.all(Array.from({ length: 20 }, () => answered(() => steps.linkBlock())))

    const [kept, completed] = [await claimed(steps, by, 'kept'), await claimed(steps, by, 'completed')]
    const checkpoints = [{ offset: 4, digest: Uint8Array.of(1, 2) }]
    await transfers.checkpoint([{ claim: kept, checkpoints, at: 5 }])
    const file = fileOf('completed')
    await transfers.verified(completed, file, 'v')
    await transfers.complete(completed, 9e15)
    await steps.present(server, 0, [{ link: 1, user: 'alice', isHere: true }])
    const before = await blocks()
    const done: string[] = []
    let isOver = false
    const uploading = upTo(3).map((number) => uploadUntil(steps, by, `${number}`, () => isOver, done))
    while (done.length < 20) await new Promise((resolve) => setImmediate(resolve))
    await postgres.crash()
    for (const { length } = done; done.length < length + 20; ) await new Promise((resolve) => setImmediate(resolve))
    isOver = true
    await Promise.all(uploading)
    for (const name of done) assert.equal((await transfers.marker('alice', name))?.file.name, name)
    await transfers.reported(done.map((name) => ({ user: 'alice', name })))

    assert.deepEqual((await answered(() => transfers.record('alice', 'kept')))?.checkpoints, checkpoints)
    assert.deepEqual(await transfers.unreported(server), [{ file, version: 'v', modifiedAt: 1 }])
    assert.equal(await transfers.complete(completed, 9e15), true)
    assert.equal((await steps.presence(server, 0)).version, 1)
    const later = await claimed(steps, by, 'kept')
    assert.ok(later.token > Math.max(kept.token, completed.token))
    const all = [...before, ...(await blocks())]
    assert.equal(new Set(all).size, all.length)
    assert.equal(await steps.renew(server, longMs, 0, {}), true)
  })
})
