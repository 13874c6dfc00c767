import assert from 'node:assert/strict'
import {
  type ClusterSessionLink,
  linkBlockSize,
  OutcomeUnknown,
  type Steps,
} from '../../../lib/adapters/cluster/steps.ts'
import type { Claim, StoredFile } from '../../../lib/ports/storage.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs, newSession } from '../cluster/contract/fixture.ts'
import { type CuttingProxy, cuttingProxy } from './cuttingProxy.ts'
import { emptyStore, type PostgresFixture } from './stores.ts'

interface Rig extends AsyncDisposable {
  readonly steps: Steps
  readonly proxy: CuttingProxy
  readonly sql: PostgresFixture['sql']
  readonly by: ClusterSessionLink
  claim(): Promise<Claim>
  /** Runs a step whose answer is lost, and runs it again. Resolves with the result of the second run. */
  repeated<T>(text: string, step: () => Promise<T>): Promise<T>
}

const file = {
  ...{ user: 'alice', name: 'a', storedName: 'a', replaced: false, size: 10, algorithm: 'sha256', digest: 'ab' },
} satisfies StoredFile

async function rig(): Promise<Rig> {
  const store = await emptyStore()
  const proxy = await cuttingProxy(store.url)
  const steps = await store.connect(proxy.url)
  const server = await steps.enter(infoOf('a'), longMs)
  const by = { server, link: 1, user: 'alice', session: newSession() }
  await steps.openSession(by, 1)
  return {
    ...{ steps, proxy, by, sql: store.sql },
    async claim() {
      const result = await steps.transfers.claim(by, file, async ({ record }) => {
        const owner = { node: 1, instance: 1, session: by.session }
        const unused = { superseded: [], checkpoints: [], updatedAt: 1, modifiedAt: 1 }
        const { user, name, size, algorithm } = file
        const begun = { user, name, size, algorithm, owner, ...unused }
        return { record: { ...begun, ...record }, reserved: { growth: 0, entries: 0 } }
      })
      return 'claim' in result ? result.claim : assert.fail('it is complete')
    },
    async repeated(text, step) {
      proxy.cutAnswerTo(text)
      await assert.rejects(step(), OutcomeUnknown)
      return step()
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await proxy[Symbol.asyncDispose]()
    },
  }
}

spec('a step whose answer is lost', (it) => {
  if (databaseMissing !== undefined) return it.skip('can be repeated', databaseMissing)

  it('adds a server once', async () => {
    await using at = await rig()
    const info = infoOf('b')
    const server = await at.repeated('server-enter', () => at.steps.enter(info, longMs))
    assert.deepEqual(
      (await at.steps.servers()).map((each) => each.server),
      [at.by.server, server],
    )
  })

  it('opens a session, and removes its former link once', async () => {
    await using at = await rig()
    const next = { ...at.by, link: 2 }
    assert.equal(await at.repeated('session-open', () => at.steps.openSession(next, 2)), undefined)
    assert.deepEqual(await at.sql('SELECT link::int FROM ospd.session'), [{ link: 2 }])
  })

  it('changes the presence list once', async () => {
    await using at = await rig()
    const change = { link: 1, user: 'alice', isHere: true }
    const { server } = at.by
    assert.equal(await at.repeated('presence-present', () => at.steps.present(server, 0, [change])), 1)
    assert.deepEqual(await at.steps.presence(server, 0), { version: 1, isWhole: false, changes: [change] })
  })

  it('renews and ends leases, and reserves each link number once', async () => {
    await using at = await rig()
    const { steps } = at
    const { server } = at.by
    assert.equal(await at.repeated('server-renew', () => steps.renew(server, longMs, 5, { links: 7 })), true)
    assert.deepEqual([await steps.lastTime(), (await steps.servers())[0]?.status], [5, { links: 7 }])
    const block = await at.repeated('server-link-block', () => steps.linkBlock())
    assert.equal(await steps.linkBlock(), block + linkBlockSize)
    const [died, left] = [await steps.enter(infoOf('b'), 0), await steps.enter(infoOf('c'), longMs)]
    assert.deepEqual(await at.repeated('server-declare-dead', () => steps.declareDead(server)), [])
    await at.repeated('server-leave', () => steps.leave(left))
    const dead = (await steps.servers()).filter(({ isDead }) => isDead)
    assert.deepEqual(
      dead.map((each) => each.server),
      [died, left],
    )
  })

  it('closes a session, and sets and removes users', async () => {
    await using at = await rig()
    const { steps } = at
    await at.repeated('session-close', () => steps.closeSession(at.by))
    assert.deepEqual(await at.sql('SELECT FROM ospd.session'), [])
    await at.repeated('user-set', () => steps.setUser('bob', Uint8Array.of(1)))
    assert.deepEqual(
      (await steps.users(-1))?.users.map(({ name }) => name),
      ['bob'],
    )
    await at.repeated('user-set', () => steps.setUser('bob', undefined))
    assert.deepEqual((await steps.users(-1))?.users, [])
  })

  it('claims an upload, and the repetition finds its own record', async () => {
    await using at = await rig()
    const claim = await at.repeated('COMMIT', () => at.claim())
    const record = await at.steps.transfers.record('alice', 'a')
    assert.deepEqual([record?.token, record?.owner.session], [claim.token, at.by.session])
    assert.deepEqual(await at.sql('SELECT count(*)::int FROM ospd.transfer'), [{ count: 1 }])
    // The first attempt was granted with a token of its own.
    assert.deepEqual(await at.sql('SELECT token::int, why FROM ospd.ended'), [
      { token: claim.token - 1, why: 'superseded' },
    ])
  })

  it('stores checkpoints, the verified file and the completion of an upload once', async () => {
    await using at = await rig()
    const { transfers } = at.steps
    const claim = await at.claim()
    const batch = [{ claim, checkpoints: [{ offset: 3, digest: Uint8Array.of(1) }], at: 2 }]
    assert.deepEqual(await at.repeated('transfer-checkpoint', () => transfers.checkpoint(batch)), [true])
    const marked = await at.repeated('transfer-verified', () => transfers.verified(claim, file, 'v'))
    assert.deepEqual(marked, { holds: true, changes: [], waiting: [] })
    assert.equal(await at.repeated('transfer-complete', () => transfers.complete(claim, 2e15)), true)
    assert.deepEqual(await transfers.unreported(at.by.server), [{ file, version: 'v', modifiedAt: 1 }])
    assert.equal(await transfers.record('alice', 'a'), undefined)
  })

  it('removes an upload', async () => {
    await using at = await rig()
    const claim = await at.claim()
    assert.equal(await at.repeated('transfer-remove', () => at.steps.transfers.remove('alice', 'a', at.by)), undefined)
    assert.deepEqual(await at.steps.transfers.ended([claim.token]), [{ token: claim.token, why: 'cancelled' }])
  })

  it('releases and expires an upload', async () => {
    await using at = await rig()
    const { transfers } = at.steps
    const claim = await at.claim()
    await at.repeated('transfer-release', () => transfers.release([claim]))
    assert.deepEqual(await at.sql('SELECT held FROM ospd.transfer'), [{ held: false }])
    assert.equal(await at.repeated('transfer-expire', () => transfers.expire('alice', 'a', 2e15)), undefined)
    assert.equal(await transfers.record('alice', 'a'), undefined)
  })

  it('announces, settles, reports and forgets a file', async () => {
    await using at = await rig()
    const { transfers } = at.steps
    const { server } = at.by
    const announced = { file, version: 'v', modifiedAt: 1, source: 'the source' }
    await at.repeated('transfer-announce', () => transfers.announce(server, [announced], 2e15, at.by))
    assert.deepEqual(await transfers.unreported(server), [announced])
    const settled = [{ user: 'alice', name: 'a', source: 'the source', isStored: true }]
    await at.repeated('transfer-settle', () => transfers.settle(settled))
    assert.deepEqual(await transfers.unreported(server), [{ file, version: 'v', modifiedAt: 1 }])
    await at.repeated('transfer-reported', () => transfers.reported([file]))
    assert.deepEqual(await transfers.unreported(server), [])
    await at.repeated('transfer-forget', () => transfers.forget({ ...file, modifiedAt: 1 }, file.digest))
    assert.equal(await transfers.marker('alice', 'a'), undefined)
  })
})
