import assert from 'node:assert/strict'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { declaredDead, entered, longMs, newSession } from '../cluster/contract/fixture.ts'
import { emptyStore, type PostgresFixture } from './stores.ts'

const countIn = async ({ sql }: PostgresFixture, table: string) =>
  Number((await sql<{ count: string }>(`SELECT count(*) FROM ospd.${table}`))[0]?.count)

const insertServer = `
  INSERT INTO ospd.server (name, boot, version, address, lease_until, dead, messages, ids, age)
  VALUES ('old', gen_random_uuid(), '', '', clock_timestamp() - $1::interval, true, 5, 7, 9000)`

const insertMarker = `
  INSERT INTO ospd.marker (user_name, name, file, modified_at, version, server, reported, until)
  VALUES ('alice', $1, '{}', 0, '', 1, $2, $3)`

spec('servers in PostgreSQL', (it) => {
  if (databaseMissing !== undefined) return it.skip('are declared dead', databaseMissing)

  it('are declared dead once, even by several servers at the same time', async () => {
    await using store = await emptyStore()
    const living = [await entered(store), await entered(store), await entered(store)]
    const dying = []
    for (let at = 0; at < 4; at++) dying.push((await entered(store, 1)).server)
    const declared: number[] = []
    while (declared.length < dying.length) {
      const found = await Promise.all(living.map(({ steps, server }) => steps.declareDead(server)))
      assert.ok(found.filter((numbers) => numbers.length > 0).length <= 1)
      declared.push(...found.flat())
    }
    assert.deepEqual(declared.toSorted(), dying.toSorted())
  })

  it('leave no sessions, registrations or readers of mailboxes after they are declared dead', async () => {
    await using store = await emptyStore()
    const [first, second] = [await entered(store, 1), await entered(store)]
    await first.steps.openSession(first.link('alice', 1), 1)
    await second.steps.openSession(second.link('alice', 2), 1)
    await first.steps.present(first.server, 0, [{ link: 1, user: 'alice', isHere: true }])
    await store.sql(
      "INSERT INTO ospd.box (name, last_seq, reader, reader_link, reader_session) VALUES ('alice', 8, $1, 1, $2)",
      [first.server, newSession()],
    )
    await declaredDead(second, first.server)
    assert.deepEqual([await countIn(store, 'session'), await countIn(store, 'presence')], [1, 0])
    const boxes = await store.sql('SELECT reader, reader_link, handed::int FROM ospd.box')
    assert.deepEqual(boxes, [{ reader: null, reader_link: null, handed: 8 }])
  })

  it('that died long ago are removed, and their counters are added to those of another server', async () => {
    await using store = await emptyStore()
    const { steps, server } = await entered(store)
    for (const ago of ['2 days', '3 days', '1 hour']) await store.sql(insertServer, [ago])
    await steps.declareDead(server)
    assert.equal((await steps.servers()).length, 2)
    const [own] = await store.sql('SELECT messages::int, ids::int FROM ospd.server WHERE id = $1', [server])
    assert.deepEqual(own, { messages: 10, ids: 14 })
    await store.sql('DELETE FROM ospd.server WHERE dead')
    assert.equal(await steps.lastTime(), 9_000)
    await steps.declareDead(server)
    assert.deepEqual(await store.sql('SELECT messages::int, ids::int FROM ospd.server WHERE id = $1', [server]), [own])
  })

  it('remove the reasons of ended claims after ten minutes', async () => {
    await using store = await emptyStore()
    const { steps, server } = await entered(store)
    await store.sql("INSERT INTO ospd.ended (token, why) VALUES (1, 'cancelled'), (2, 'superseded')")
    await store.sql("UPDATE ospd.ended SET ended_at = ended_at - interval '11 minutes' WHERE token = 1")
    await steps.declareDead(server)
    assert.deepEqual(await steps.transfers.ended([1, 2]), [{ token: 2, why: 'superseded' }])
  })

  it('remove expired completion markers that were reported, and the oldest if there are too many', async () => {
    await using store = await emptyStore()
    const { steps, server } = await entered(store)
    for (const [name, reported, until] of [
      ['old', true, 1],
      ['old, not reported', false, 1],
      ['first', true, 2e15],
      ['second', true, 3e15],
    ]) {
      await store.sql(insertMarker, [name, reported, until])
    }
    const names = () => store.sql('SELECT name FROM ospd.marker ORDER BY name')
    await steps.declareDead(server)
    assert.deepEqual(await names(), [{ name: 'first' }, { name: 'old, not reported' }, { name: 'second' }])
    await store.sql('ANALYZE ospd.marker')
    await store.sql('SELECT ospd.drop_markers_1(2)')
    assert.deepEqual(await names(), [{ name: 'old, not reported' }, { name: 'second' }])
  })
})

spec('the presence list in PostgreSQL', (it) => {
  if (databaseMissing !== undefined) return it.skip('is kept in versions', databaseMissing)

  it('is read completely by a server that has missed changes which were removed', async () => {
    await using store = await emptyStore()
    const { steps, server } = await entered(store)
    const change = (link: number, isHere: boolean) => ({ link, user: `user ${link}`, isHere })
    await steps.present(server, 0, [change(1, true), change(2, true)])
    await steps.present(server, 1, [change(1, false)])
    assert.deepEqual(await steps.presence(server, 1), { version: 2, isWhole: false, changes: [change(1, false)] })
    await store.sql("UPDATE ospd.presence SET changed_at = changed_at - interval '11 minutes'")
    await steps.present(server, 2, [change(3, true)])
    const whole = { version: 3, isWhole: true, changes: [change(2, true), change(3, true)] }
    assert.deepEqual(await steps.presence(server, 1), whole)
    assert.deepEqual(await steps.presence(server, 2), { version: 3, isWhole: false, changes: [change(3, true)] })
    assert.deepEqual(await steps.presence(server, 9), whole)
  })

  it('has the latest of several changes of a link', async () => {
    await using store = await emptyStore()
    const { steps, server } = await entered(store)
    const change = (user: string, isHere: boolean) => ({ link: 1, user, isHere })
    await steps.present(server, 0, [change('alice', true), change('alice', false), change('bob', true)])
    assert.deepEqual((await steps.presence(server, 0)).changes, [change('bob', true)])
  })

  it('is not changed by a dead server', async () => {
    await using store = await emptyStore()
    const [first, second] = [await entered(store, 1), await entered(store)]
    await declaredDead(second, first.server)
    const change = { link: 1, user: 'alice', isHere: true }
    for (const after of [0, 1]) assert.equal(await first.steps.present(first.server, after, [change]), 1)
    assert.deepEqual((await second.steps.presence(first.server, 0)).changes, [])
    assert.equal(await first.steps.renew(first.server, longMs, 0, {}), false)
  })
})

spec('the sessions of clients in PostgreSQL', (it) => {
  if (databaseMissing !== undefined) return it.skip('have one link each', databaseMissing)

  it('have one link after several were opened at the same time, and each former link is returned', async () => {
    await using store = await emptyStore()
    const servers = [await entered(store), await entered(store)]
    const session = newSession()
    const links = Array.from({ length: 8 }, (_, at) => at + 1)
    const formers = await Promise.all(
      links.map(async (link) => {
        const at = servers[link % 2] ?? assert.fail()
        return at.steps.openSession(at.link('alice', link, session), 1)
      }),
    )
    const [present] = await store.sql<{ link: string }>('SELECT link FROM ospd.session')
    const all = [...formers.flatMap((former) => former?.link ?? []), Number(present?.link)]
    assert.deepEqual(
      all.toSorted((a, b) => a - b),
      links,
    )
  })
})
