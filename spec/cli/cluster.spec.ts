import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { place, run, start } from '../support/commands.ts'
import { healthOf, untilReady } from '../support/health.ts'
import { databaseMissing } from '../support/postgres.ts'
import { ownPostgres, postgresMissing } from '../support/postgresServer.ts'
import { spec } from '../support/spec.ts'
import { initialized, Shared } from './sharedCluster.ts'

spec('ospd cluster', (it) => {
  if (databaseMissing !== undefined) return it.skip('creates the schema', databaseMissing)

  it('creates the schema and the directory once', async () => {
    await using shared = await Shared.create()
    const init = () => shared.run('cluster', 'init', '--files', shared.files)
    const printed = (schema: string, directory: string) =>
      `the schema ${schema}\nthe directory ${shared.files} ${directory} initialized\n`
    assert.deepEqual(await init(), { code: 0, stdout: printed('now has version 3 (before: 0)', 'is now'), stderr: '' })
    assert.match(await readFile(join(shared.files, 'format'), 'utf8'), /^ospd files 1 [\da-f-]{36} [\da-f-]{36}\n$/u)
    assert.deepEqual(await init(), { code: 0, stdout: printed('already has version 3', 'was already'), stderr: '' })
  })

  it('refuses a directory of another cluster, and one with other files', async () => {
    await using one = await initialized()
    await using other = await Shared.create()
    const wrong = await other.run('cluster', 'init', '--files', one.files)
    assert.equal(wrong.code, 1)
    assert.match(wrong.stderr, /belongs to another database; specify the directory of this cluster/u)
    const full = await other.run('cluster', 'init', '--files', one.path)
    assert.equal(full.code, 1)
    assert.match(full.stderr, /contains "files"; choose an empty directory/u)
    // Neither has created the schema.
    assert.match((await other.run('cluster', 'status')).stderr, /the database has no schema "ospd"/u)
  })

  it('refuses a second directory of a cluster', async () => {
    await using shared = await initialized()
    const second = join(shared.path, 'second')
    const refused = async (...args: string[]) => {
      const { code, stdout, stderr } = await shared.run(...args)
      assert.equal(code, 1, stderr)
      assert.match(`${stdout}${stderr}`, /is not the directory of this cluster: .*is the shared directory mounted\?$/mu)
    }
    const serve = ['serve', '--port', '0', '--data', join(shared.path, 'data')]
    for (const args of [['cluster', 'init'], ['cluster', 'check'], serve]) await refused(...args, '--files', second)
    await assert.rejects(readdir(second), { code: 'ENOENT' })
    // One that has the id of the cluster, but was not initialized as its directory.
    const format = await readFile(join(shared.files, 'format'), 'utf8')
    await mkdir(second)
    await writeFile(join(second, 'format'), format.replace(/[\da-f-]{36}\n$/u, `${randomUUID()}\n`))
    for (const args of [['cluster', 'init'], ['cluster', 'check'], serve]) await refused(...args, '--files', second)
  })

  it('serves with --notify, for users of the cluster that exist', async () => {
    await using shared = await initialized()
    const serve = ['serve', '--port', '0', '--data', join(shared.path, 'data'), '--files', shared.files]
    assert.equal((await shared.run('user', 'add', 'alice')).code, 0)
    const { code, stderr } = await shared.run(...serve, '--notify', 'ingest')
    assert.deepEqual([code, /--notify ingest: there is no such user/u.test(stderr)], [2, true], stderr)
    await using _ = await shared.serve('one', ['--notify', 'alice'])
  })

  it('continues an interrupted init', async () => {
    await using shared = await initialized()
    await shared.sql('UPDATE ospd.meta SET directory = NULL')
    const check = await shared.run('cluster', 'check', '--files', shared.files)
    assert.match(check.stdout, /the cluster has no directory; run "ospd cluster init" first/u)
    assert.equal((await shared.run('cluster', 'init', '--files', shared.files)).code, 0)
    assert.equal((await shared.run('cluster', 'check', '--files', shared.files)).code, 0)
  })

  it('refuses a schema that is too new, and accepts the next version', async () => {
    await using shared = await initialized()
    const serve = ['serve', '--port', '0', '--data', join(shared.path, 'data'), '--files', shared.files]
    await shared.sql('UPDATE ospd.meta SET version = 5')
    for (const args of [serve, ['cluster', 'status'], ['cluster', 'migrate']]) {
      const { code, stderr } = await shared.run(...args)
      assert.equal(code, 1, stderr)
      assert.match(stderr, /has version 5, but this ospd supports only the versions 3 and 4; use a newer ospd$/mu)
    }
    await shared.sql('UPDATE ospd.meta SET version = 4')
    await using _server = await shared.serve('one')
  })

  it('does not test conditions that depend on others', async () => {
    await using shared = await initialized()
    const missing = await shared.run('cluster', 'check', '--files', join(shared.path, 'missing'))
    assert.equal(missing.code, 1)
    assert.match(
      missing.stdout,
      /^not tested .*atomic renames.* the directory is not known to belong to the cluster$/mu,
    )
    const args = ['cluster', 'check', '--files', shared.files]
    const { code, stdout } = await run('ospd', args, { env: { OSPD_CLUSTER: 'postgres://ospd@127.0.0.1:1/ospd' } })
    assert.equal(code, 1)
    assert.match(stdout, /^FAILED .* cannot be reached at 127\.0\.0\.1:1\/ospd/u)
    assert.equal(stdout.match(/^not tested/gmu)?.length, 5)
  })

  it('refuses --data for the users of a cluster', async () => {
    await using shared = await initialized()
    const { code, stderr } = await shared.run('user', 'list', '--data', shared.path)
    assert.equal(code, 2)
    assert.match(stderr, /--data cannot be used with a cluster from OSPD_CLUSTER/u)
  })

  it('tests the database and the directory', async () => {
    await using shared = await initialized()
    const { code, stdout } = await shared.run('cluster', 'check', '--files', shared.files, '--json')
    const checks = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const failed = checks.filter(({ holds }) => !holds).map(({ condition }) => condition)
    // The server of the specs has no standby.
    assert.deepEqual([code, checks.length, failed], [0, 6, ['a failover of the database loses no commits']])
    await using bare = await Shared.create()
    const without = await bare.run('cluster', 'check', '--files', shared.files)
    assert.equal(without.code, 1)
    assert.match(without.stdout, /^FAILED .*run "ospd cluster init" first$/mu)
  })

  it('names a database that cannot be reached, without its password', async () => {
    const faults: [string, number, RegExp][] = [
      ['127.0.0.1:1/ospd', 3, /cannot be reached at 127\.0\.0\.1:1\/ospd: connect ECONNREFUSED/u],
      ['database.invalid/ospd', 3, /cannot be reached at database\.invalid:5432\/ospd: getaddrinfo/u],
    ]
    for (const [at, exit, fault] of faults) {
      for (const args of [
        ['cluster', 'init', '--files', '/nowhere'],
        ['cluster', 'migrate'],
        ['cluster', 'status'],
        ['user', 'list'],
        ['serve', '--files', '/nowhere', '--port', '0'],
      ]) {
        const { code, stdout, stderr } = await run('ospd', args, {
          env: { OSPD_CLUSTER: `postgres://ospd:secret-word@${at}` },
        })
        assert.equal(code, exit, stderr)
        assert.match(stderr, fault)
        assert.doesNotMatch(stderr, /bug/u)
        assert.ok(!`${stdout}${stderr}`.includes('secret-word'))
      }
    }
  })

  it('does not print or use a URL of a database in the wrong place', async () => {
    await using at = await place()
    const url = 'postgres://ospd:secret-word@127.0.0.1:1/ospd'
    for (const args of [
      ['cluster', 'status', url],
      [url],
      ['status', url],
      ['user', 'add', url],
      ['user', 'list', '--data', url],
      ['cluster', 'init', '--files', url],
      ['serve', '--port', '0', '--data', url],
      [`--${url}`],
    ]) {
      const { code, stdout, stderr } = await run('ospd', args, { cwd: at.path })
      assert.equal(code, 2, stderr)
      assert.ok(!`${stdout}${stderr}`.includes('secret-word'), stderr)
    }
    const { stderr } = await run('ospd', ['serve', '--data', 'postgres://ospd@127.0.0.1:1/ospd'], { cwd: at.path })
    assert.match(stderr, /the value of --data is the URL of a database; provide it with OSPD_CLUSTER or --cluster$/mu)
    assert.deepEqual(await readdir(at.path), [])
    for (const given of [url, 'postgresql://ospd@db/ospd']) {
      const { code, stderr } = await run('osp', ['who', '--server', given], { cwd: at.path })
      assert.equal(code, 2, stderr)
      assert.match(stderr, /^osp: the value of --server is the URL of a database; osp connects to an ospd server/u)
      assert.ok(!stderr.includes('secret-word'), stderr)
    }
  })

  it('refuses flags that do not belong together', async () => {
    const url = 'postgres://ospd@127.0.0.1:1/ospd'
    const faults: [string[], RegExp][] = [
      [['serve', '--cluster', url], /--cluster requires --files, the directory that all servers share/u],
      [['serve', '--files', '/nowhere'], /--files requires --cluster; specify both/u],
      [
        ['serve', '--cluster', url, '--files', '/nowhere', '--tls', 'auto'],
        /--tls auto cannot be used with --cluster/u,
      ],
      [['cluster', 'status'], /cluster status requires --cluster, the URL of the database/u],
      [['cluster', 'init', '--cluster', url], /cluster init requires --files, the directory that all servers share/u],
      [
        ['cluster', 'status', '--cluster', 'mysql://u:secret-word@h/d'],
        /--cluster cannot be that value: it takes the URL/u,
      ],
    ]
    for (const [args, fault] of faults) {
      const { code, stderr } = await run('ospd', args)
      assert.equal(code, 2)
      assert.match(stderr, fault)
      assert.ok(!stderr.includes('secret-word'))
    }
  })
})

spec('servers of a cluster', (it) => {
  if (databaseMissing !== undefined) return it.skip('deliver messages', databaseMissing)

  it('deliver messages to users at other servers, and are listed', async () => {
    await using shared = await initialized()
    await using one = await shared.serve('one')
    await using two = await shared.serve('two')
    const args = ['--port', '0', '--files', shared.files, '--data', join(shared.path, 'one')]
    const third = await shared.run('serve', ...args)
    assert.equal(third.code, 1)
    assert.match(
      third.stderr,
      new RegExp(`/one is in use by process ${one.child.pid}, since .*; stop it or choose`, 'u'),
    )
    await using listening = start('osp', ['listen', '--json', '--server', two.server, '--user', 'bob'])
    await listening.printed(/"event":"online"/u)
    const sent = await run('osp', ['msg', '--server', one.server, '--user', 'alice', 'bob', 'across'])
    assert.equal(sent.code, 0, sent.stderr)
    await listening.printed(/"text":"across"/u)
    const who = await run('osp', ['who', '--server', one.server, '--user', 'carol'])
    assert.equal(who.stdout, 'bob\n')
    const { stdout } = await shared.run('cluster', 'status')
    assert.match(stdout, /^(\d+ .* lease expires in .* schema 3\n){2}$/u)
    const listed = async (address: string) => (await shared.run('cluster', 'status')).stdout.includes(` ${address} `)
    for (const { server } of [one, two]) while (!(await listed(server))) await new Promise(setImmediate)
  })

  it('list, return, rename and remove the files that another one has received', async () => {
    await using shared = await initialized()
    await using at = await place()
    await at.write('photo.png', 'pixels')
    await using one = await shared.serve('one')
    await using two = await shared.serve('two')
    const osp = (server: string, command: string, ...args: string[]) =>
      run('osp', [command, '--server', server, '--user', 'alice', ...args], { cwd: at.path })
    const sent = await osp(one.server, 'send', '--meta', 'contentType=image/png', 'photo.png')
    assert.equal(sent.code, 0, sent.stderr)
    const listed = await osp(two.server, 'ls', '--json')
    assert.match(listed.stdout, /"name":"photo\.png".*"contentType":"image\/png"/u)
    const renamed = await osp(two.server, 'mv', 'photo.png', 'x/kept.png')
    assert.equal(renamed.code, 0, renamed.stderr)
    const got = await osp(one.server, 'get', 'x/kept.png', '-')
    assert.deepEqual([got.code, got.stdout], [0, 'pixels'], got.stderr)
    assert.match((await osp(one.server, 'ls', '--json')).stdout, /"name":"x\/kept\.png".*"contentType":"image\/png"/u)
    assert.equal((await osp(one.server, 'rm', 'x/kept.png')).code, 0)
    assert.equal((await osp(two.server, 'ls')).stdout, '')
  })

  it('continue uploads of a killed server', async () => {
    await using shared = await initialized()
    await using at = await place()
    const content = Buffer.alloc(40_000_000, 'abcdefg')
    await at.write('big.bin', content)
    const one = await shared.serve('one')
    const flags = ['--user', 'dave', '--json', 'big.bin']
    const state = { cwd: at.path, env: { OSP_STATE: join(at.path, 'state') } }
    const first = start(
      'osp',
      ['send', '--server', one.server, '--limit-rate', '10M', '--retry-for', '1s', ...flags],
      state,
    )
    await first.printed(/"durable":[1-9]\d{6}/u)
    await one.kill('SIGKILL')
    await first.ended
    await using two = await shared.serve('two')
    const second = await run('osp', ['send', '--server', two.server, ...flags], state)
    assert.equal(second.code, 0, second.stderr)
    const end = second.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .find(({ event }) => event === 'stored')
    assert.equal(end.digest, createHash('sha256').update(content).digest('hex'))
    assert.ok(end.transferred < content.length, `${end.transferred} bytes were sent`)
    assert.ok(content.equals(await readFile(join(shared.files, 'files/dave/big.bin'))))
  })

  it('have the same users', async () => {
    await using shared = await initialized()
    await using one = await shared.serve('one')
    await using two = await shared.serve('two')
    const token = (await shared.run('user', 'add', 'alice')).stdout.trim()
    assert.match(token, /^osp_/u)
    assert.match((await shared.run('user', 'add', 'Alice')).stderr, /too similar to the user alice/u)
    assert.match((await shared.run('user', 'list')).stdout, /^alice +since \d{4}-\d\d-\d\d\n$/u)
    for (const { server } of [one, two]) {
      const login = (token: string) =>
        run('osp', ['who', '--server', server, '--user', 'alice'], { env: { OSP_TOKEN: token } })
      assert.equal((await login(token)).code, 0)
      assert.equal((await login(`${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`)).code, 4)
    }
    const open = start('osp', ['listen', '--json', '--server', two.server, '--user', 'alice'], {
      env: { OSP_TOKEN: token },
    })
    await open.printed(/"event":"online"/u)
    assert.equal((await shared.run('user', 'remove', 'alice')).stdout, 'alice removed\n')
    assert.equal((await open.ended).code, 4)
  })
})

spec('/ready of a server of a cluster', (it) => {
  if (postgresMissing !== undefined) return it.skip('is 503 without the database', postgresMissing)

  const health = ['--health', '127.0.0.1:0']
  const ready = { status: 200, body: { ready: true } }

  it('is 503 while the database does not renew its lease, and its links stay open', async () => {
    await using postgres = await ownPostgres()
    await using shared = await initialized(postgres.url())
    await using one = await shared.serve('one', health)
    const get = await healthOf(one)
    assert.deepEqual(await get('/ready'), ready)
    await using listening = start('osp', ['listen', '--json', '--server', one.server, '--user', 'bob'])
    await listening.printed(/"event":"online"/u)
    await postgres.stop()
    const { body } = await untilReady(get, 503)
    const reason = 'the database of the cluster has not renewed the lease of this server for 5 s'
    assert.deepEqual(body, { ready: false, reasons: { cluster: reason } })
    assert.equal((await get('/live')).status, 200)
    await postgres.start()
    assert.deepEqual(await untilReady(get, 200), ready)
    const sent = await run('osp', ['msg', '--server', one.server, '--user', 'alice', 'bob', 'after it'])
    assert.equal(sent.code, 0, sent.stderr)
    await listening.printed(/"text":"after it"/u)
    assert.doesNotMatch(one.stderr, /link-closed user=bob/u)
  })

  it('returns 503 while its directory does not belong to the cluster', async () => {
    await using shared = await initialized()
    await using one = await shared.serve('one', health)
    const get = await healthOf(one)
    assert.deepEqual(await get('/ready'), ready)
    await rename(shared.files, `${shared.files}.away`)
    const reasons = { cluster: 'the shared directory does not belong to the cluster' }
    assert.deepEqual((await untilReady(get, 503)).body, { ready: false, reasons })
    await rename(`${shared.files}.away`, shared.files)
    assert.deepEqual(await untilReady(get, 200), ready)
  })
})
