import assert from 'node:assert/strict'
import { type ClusterSessionLink, type FoundUpload, OutcomeUnknown } from '../../../lib/adapters/cluster/steps.ts'
import { OspError } from '../../../lib/errors.ts'
import type { Claim } from '../../../lib/ports/storage.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { entered, type TestedServer } from '../cluster/contract/fixture.ts'
import { emptyStore, type PostgresFixture } from './stores.ts'

const upload = { user: 'alice', name: 'a' }

function grantTo(by: ClusterSessionLink) {
  return async ({ record }: FoundUpload) => {
    const owner = { node: by.link, instance: 1, session: by.session }
    const unused = { superseded: [], checkpoints: [], updatedAt: 1 }
    const stated = { size: 10, modifiedAt: 1, algorithm: 'sha256', ...unused } as const
    return {
      record: { ...stated, ...record, ...upload, owner },
      reserved: { growth: 0, entries: 0 },
    }
  }
}

async function openLink(at: TestedServer, link: number, session?: string): Promise<ClusterSessionLink> {
  const by = at.link('alice', link, session)
  await at.steps.openSession(by, link)
  return by
}

/** Returns the process ids of the connections that are in a transaction. */
const inTransaction = (store: PostgresFixture) =>
  store.sql<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'",
  )

spec('a claim in PostgreSQL', (it) => {
  if (databaseMissing !== undefined) return it.skip('is one transaction', databaseMissing)

  it('has an unknown outcome if its connection ends while it decides, and then holds no locks', async () => {
    await using store = await emptyStore()
    const at = await entered(store)
    const by = await openLink(at, 1)
    const claim = at.steps.transfers.claim(by, upload, async (found) => {
      for (const { pid } of await inTransaction(store)) await store.sql('SELECT pg_terminate_backend($1)', [pid])
      return grantTo(by)(found)
    })
    await assert.rejects(claim, OutcomeUnknown)
    assert.equal(await at.steps.transfers.record('alice', 'a'), undefined)
    await at.steps.transfers.claim(by, upload, grantTo(by))
  })

  it('is refused if the session gets another link while it decides', async () => {
    await using store = await emptyStore()
    const [first, second] = [await entered(store), await entered(store)]
    const by = await openLink(first, 1)
    const claim = first.steps.transfers.claim(by, upload, async (found) => {
      await openLink(second, 2, by.session)
      return grantTo(by)(found)
    })
    await assert.rejects(claim, { code: 'link-lost' })
    assert.equal(await first.steps.transfers.record('alice', 'a'), undefined)
  })

  it('ends its transaction if it is not granted, and keeps the connection', async () => {
    await using store = await emptyStore()
    const at = await entered(store)
    const by = await openLink(at, 1)
    const refuse = () => Promise.reject(new OspError('file-busy'))
    const pids = new Set<number>()
    for (let attempt = 0; attempt < 6; attempt++) {
      const claim = at.steps.transfers.claim(by, upload, async () => {
        for (const { pid } of await inTransaction(store)) pids.add(pid)
        return refuse()
      })
      await assert.rejects(claim, { code: 'file-busy' })
      assert.deepEqual(await inTransaction(store), [])
    }
    assert.equal(pids.size, 1)
  })
})

spec('steps on the uploads of several servers', (it) => {
  if (databaseMissing !== undefined) return it.skip('do not wait for each other', databaseMissing)

  it('take effect without a deadlock, in any order of the uploads', async () => {
    await using store = await emptyStore()
    const servers = [await entered(store), await entered(store), await entered(store)]
    const names = Array.from({ length: 12 }, (_, at) => `file ${at}`)
    const claims: Claim[] = []
    for (const [at, name] of names.entries()) {
      const server = servers[at % 2] ?? assert.fail()
      const by = await openLink(server, at + 1)
      const result = await server.steps.transfers.claim(by, { user: 'alice', name }, async (found) => {
        const decision = await grantTo(by)(found)
        return { ...decision, record: { ...decision.record, name } }
      })
      claims.push('claim' in result ? result.claim : assert.fail())
    }
    const checkpoints = (order: typeof claims, at: number) =>
      order.map((claim) => ({ claim, checkpoints: [{ offset: at, digest: new Uint8Array() }], at }))
    const orders = [claims, claims.toReversed(), claims.toSorted(() => 1)]
    for (let round = 1; round <= 15; round++) {
      const results = await Promise.all(
        servers.flatMap(({ steps: { transfers } }, at) => {
          const order = orders[at] ?? claims
          return [transfers.checkpoint(checkpoints(order, round)), transfers.release(order.toReversed())] as const
        }),
      )
      for (const holds of results) assert.ok(holds === undefined || holds.every((each) => each))
    }
    const ended = [servers[0], servers[1]].map((server) => server?.steps.leave(server.server))
    const late = servers.map(({ steps }) => steps.transfers.checkpoint(checkpoints(orders[1] ?? [], 99)))
    await Promise.all([...ended, ...late])
    assert.equal((await store.sql('SELECT FROM ospd.transfer WHERE held')).length, 0)
  })
})
