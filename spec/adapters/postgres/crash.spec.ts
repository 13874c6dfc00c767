import assert from 'node:assert/strict'
import { type FoundUpload, OutcomeUnknown, type Steps } from '../../../lib/adapters/cluster/steps.ts'
import { Database } from '../../../lib/adapters/postgres/database.ts'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import { migrate } from '../../../lib/adapters/postgres/schema.ts'
import type { Claim } from '../../../lib/ports/storage.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { ownPostgres, postgresMissing } from '../../support/postgresServer.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs, newSession } from '../cluster/contract/fixture.ts'

/** Repeats a step until the database answers. */
async function answered<T>(step: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await step()
    } catch (error) {
      if (!(error instanceof OutcomeUnknown)) throw error
    }
  }
}

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
    const uploadOf = (name: string) => ({ user: 'alice', name, size: 9, modifiedAt: 1, algorithm: 'sha256' as const })
    const fileOf = (name: string) => ({ ...uploadOf(name), storedName: name, replaced: false, digest: 'ab' })
    const claimed = async (name: string): Promise<Claim> => {
      const owner = { node: 1, instance: 1, session: by.session }
      const begun = { ...uploadOf(name), owner, superseded: [], checkpoints: [], updatedAt: 1 }
      const decide = async ({ record }: FoundUpload) => ({
        record: { ...begun, ...record },
        reserved: 0,
        dropsMarker: false,
      })
      const result = await transfers.claim(by, { user: 'alice', name }, decide)
      return 'claim' in result ? result.claim : assert.fail('it is complete')
    }
    const blocks = () => Promise.all(Array.from({ length: 20 }, () => answered(() => steps.linkBlock())))

    const [kept, completed] = [await claimed('kept'), await claimed('completed')]
    const checkpoints = [{ offset: 4, digest: Uint8Array.of(1, 2) }]
    await transfers.checkpoint([{ claim: kept, checkpoints, at: 5 }])
    const { modifiedAt: _, ...file } = fileOf('completed')
    await transfers.verified(completed, file, 'v')
    await transfers.complete(completed, 9e15)
    await steps.present(server, 0, [{ link: 1, user: 'alice', isHere: true }])
    const before = await blocks()
    // Uploads of three users, one after another, each until it is complete.
    const done: string[] = []
    let isOver = false
    const uploading = upTo(3).map(async (user) => {
      for (let number = 1; !isOver; number++) {
        const name = `${user} ${number}`
        const claim = await answered(() => claimed(name))
        const batch = [{ claim, checkpoints, at: 5 }]
        assert.deepEqual(await answered(() => transfers.checkpoint(batch)), [true])
        assert.equal(await answered(() => transfers.verified(claim, { ...file, name }, 'v')), true)
        assert.equal(await answered(() => transfers.complete(claim, 9e15)), true)
        done.push(name)
      }
    })
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
    const later = await claimed('kept')
    assert.ok(later.token > Math.max(kept.token, completed.token))
    const all = [...before, ...(await blocks())]
    assert.equal(new Set(all).size, all.length)
    assert.equal(await steps.renew(server, longMs, 0, {}), true)
  })
})
