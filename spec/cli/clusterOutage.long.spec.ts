import assert from 'node:assert/strict'
import { join } from 'node:path'
import { daemon, place, run, start } from '../support/commands.ts'
import { testDatabase } from '../support/postgres.ts'
import { ownPostgres, postgresMissing } from '../support/postgresServer.ts'
import { spec } from '../support/spec.ts'

spec('an outage of the database of a cluster that is longer than 30 s', (it) => {
  if (postgresMissing !== undefined) return it.skip('supersedes nobody', postgresMissing)

  it('supersedes nobody: every listener is registered again, and the log describes the outage', async () => {
    await using postgres = await ownPostgres()
    await using database = await testDatabase(postgres.url())
    await using shared = await place()
    const env = { OSPD_CLUSTER: database.url }
    const files = join(shared.path, 'files')
    assert.equal((await run('ospd', ['cluster', 'init', '--files', files], { env })).code, 0)
    await using server = await daemon(join(shared.path, 'one'), ['--files', files], { env })
    const listen = (user: string) => start('osp', ['listen', '--json', '--server', server.server, '--user', user])
    await using bob = listen('bob')
    await using eve = listen('eve')
    const users = { bob, eve }
    for (const listener of Object.values(users)) await listener.printed(/"event":"online"/u)
    await postgres.stop()
    await server.printed(/ error cluster-lease-lost server=\d+ /u)
    const who = await run('osp', ['who', '--server', server.server, '--user', 'dan'])
    assert.notEqual(who.code, 0)
    const status = await run('ospd', ['status', '--data', join(shared.path, 'one')])
    assert.equal(status.code, 0, status.stderr)
    assert.match(status.stdout, /^mailboxes: unknown \(this server has no lease in the database/mu)
    await postgres.start()
    await server.printed(/ info {2}cluster-entered server=\d+ former=\d+/u)
    for (const [user, listener] of Object.entries(users)) {
      await listener.printed(/"event":"online".*"event":"online"/su)
      const sent = await run('osp', ['msg', '--server', server.server, '--user', 'dan', user, 'after it'])
      assert.equal(sent.code, 0, sent.stderr)
      await listener.printed(/"text":"after it"/u)
    }
    const { stdout } = await run('osp', ['who', '--server', server.server, '--user', 'dan'])
    assert.match(stdout, /bob.*eve/su)
    assert.match(server.stderr, / error cluster-database-lost .* info {2}cluster-database-back ms=\d+/su)
    assert.doesNotMatch(server.stderr, /registration-superseded/u)
    for (const listener of Object.values(users)) assert.doesNotMatch(listener.stderr, /shutting down|another program/u)
  })
})
