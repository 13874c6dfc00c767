import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { keptToken } from 'ospd/node'
import { commandEvents } from '../../bin/common/events.ts'
import { daemon, place, readsStdin, run } from '../support/commands.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { tokenServer } from '../support/tokenServer.ts'
import { turns } from '../support/turns.ts'

spec('osp login', (it) => {
  it('stores the token from stdin privately after the server has accepted it, and reports that in one line', async () => {
    await using at = await tokenServer()
    const { code, stdout, stderr } = await at.osp(['login'], { input: 'osp_alices\nmore' })
    assert.deepEqual([code, stdout, stderr], [0, `logged in to ${at.its.address} as alice\n`, ''])
    assert.equal(await readFile(at.kept, 'utf8'), 'osp_alices\nlocal\n')
    assert.equal((await stat(at.kept)).mode & 0o777, 0o600)
    assert.equal(at.its.server.status().links, 0)
  })

  it('stores the token that other commands use until osp logout', async () => {
    await using at = await tokenServer()
    await at.osp(['login'], { input: 'osp_alices' })
    assert.equal((await at.osp(['who'])).code, 0)
    const out = await at.osp(['logout'])
    assert.deepEqual(out, { code: 0, stdout: `logged out of ${at.its.address} as alice\n`, stderr: '' })
    assert.equal((await at.osp(['who'])).code, 4)
    assert.match((await at.osp(['logout'])).stderr, /^osp: no token of alice for .* is stored$/mu)
  })

  it('that the server rejects exits with 4, and keeps the previous token', async () => {
    await using at = await tokenServer()
    await at.osp(['login'], { input: 'osp_alices' })
    const { code, stdout, stderr } = await at.osp(['login'], { input: 'osp_wrong' })
    assert.deepEqual([code, stdout], [4, ''])
    assert.match(stderr, /^osp: gave up on .*: that is not the token of alice\nosp: the token was not stored\n$/u)
    assert.equal(await readFile(at.kept, 'utf8'), 'osp_alices\nlocal\n')
  })

  it('without a server exits with 3, and stores nothing', async () => {
    await using at = await tokenServer()
    await at.its.server.close()
    const { code } = await at.osp(['login', '--retry-for', '0'], { input: 'osp_alices' })
    assert.equal(code, 3)
    assert.ok(!existsSync(at.kept))
  })

  it('stores a token for one address and one user only', async () => {
    await using at = await tokenServer()
    at.tokens.set('bob', 'osp_bobs')
    await at.osp(['login'], { input: 'osp_alices' })
    const elsewhere = ['--server', `localhost:${at.its.port}`]
    assert.match((await at.osp(['who', ...elsewhere])).stderr, /this server wants a token/u)
    assert.match((await at.osp(['who', '--user', 'bob'])).stderr, /this server wants a token/u)
  })

  it('prints its events as JSON', async () => {
    await using at = await tokenServer()
    const login = await at.osp(['login', '--json'], { input: 'osp_alices' })
    assert.deepEqual(published(login.stdout, commandEvents.login).at(-1), {
      v: 1,
      event: 'logged-in',
      server: at.its.address,
      user: 'alice',
      context: `alice@${at.its.address}`,
    })
    const refused = await at.osp(['login', '--json'], { input: 'osp_wrong' })
    assert.equal(published(refused.stdout, commandEvents.login).at(-1)?.code, 'unauthorized')
    for (const removed of [true, false]) {
      const { stdout } = await at.osp(['logout', '--json'])
      assert.equal(published(stdout, commandEvents.logout).at(-1)?.removed, removed)
    }
  })

  const wrong: readonly (readonly [string, string, RegExp])[] = [
    ['nothing', '', /the line on stdin is empty/u],
    ['an empty line', '\nosp_alices', /the line on stdin is empty/u],
    ['two words', 'osp_marked twice', /spaces or control characters/u],
    ['an endless line', 'marked'.repeat(10_000), /more than 1024 bytes/u],
  ]
  for (const [what, input, message] of wrong) {
    it(`does not accept ${what} as a token, and does not repeat it`, async () => {
      await using at = await tokenServer()
      const { code, stdout, stderr } = await at.osp(['login'], { input })
      assert.equal(code, 2)
      assert.match(stderr, message)
      assert.ok(!`${stdout}${stderr}`.includes('marked'))
      assert.equal(at.log.length, 0)
    })
  }

  for (const args of [['osp_marked'], ['--token', 'osp_marked'], ['--token=osp_marked'], ['--', '-osp_marked']]) {
    it(`takes no token as an argument: ${args.join(' ')} is a usage error that does not repeat it`, async () => {
      await using at = await tokenServer()
      const { code, stdout, stderr } = await at.osp(['login', ...args])
      assert.equal(code, 2)
      assert.ok(!`${stdout}${stderr}`.includes('osp_marked'), stderr)
    })
  }

  it('exits with 130 at Ctrl-C while it reads stdin', async () => {
    if (process.platform !== 'linux') return
    await using at = await tokenServer()
    await using login = at.begin(['login'])
    await turns(() => readsStdin(login.child.pid))
    login.child.kill('SIGINT')
    assert.deepEqual([(await login.ended).code, login.stderr], [130, ''])
  })

  it('sends a token from stdin to a new server only if --fingerprint names its key, and pins the key', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    const { stdout: token } = await run('ospd', ['user', 'add', 'alice', '--data', data])
    await using its = await daemon(data, ['--tls', 'auto'])
    const [, fingerprint = ''] = await its.printed(/fingerprint (\S+), data in/u)
    const flags = ['--tls', '--server', its.server, '--state', join(at.path, 'state')]
    const login = (...more: string[]) => run('osp', ['login', ...flags, '--user', 'alice', ...more], { input: token })
    const unknown = await login()
    assert.equal(unknown.code, 4)
    assert.ok(
      unknown.stderr.includes(
        `is not known yet; no token was sent. If its daemon prints the fingerprint ${fingerprint}`,
      ),
      unknown.stderr,
    )
    const other = await login('--fingerprint', `SHA256:${'A'.repeat(43)}`)
    assert.deepEqual([other.code, other.stderr.includes(`presents the key ${fingerprint}, not SHA256:AAA`)], [4, true])
    assert.doesNotMatch(`${unknown.stderr}${other.stderr}`, /not kept/u)
    assert.deepEqual((await login('--fingerprint', fingerprint)).stderr, '')
    // Edited lines count as well.
    const list = join(at.path, 'state', 'known_servers')
    await writeFile(list, `# mine\n \t${(await readFile(list, 'utf8')).replace(/ (?=SHA256)/u, '\t ')}`)
    assert.equal((await login()).code, 0)
    assert.equal((await run('osp', ['who', ...flags], { env: { OSP_USER: '' } })).code, 0)
    await rm(join(at.path, 'state', 'contexts.json'))
    const nameless = await run('osp', ['who', ...flags], { env: { OSP_USER: '' } })
    assert.match(nameless.stderr, /^osp: no token was sent; tokens are stored for alice: specify --user alice$/mu)
  })

  it('reports that OSP_TOKEN overrides the stored token', async () => {
    await using at = await tokenServer()
    const { stderr } = await at.osp(['login'], { input: 'osp_alices', env: { OSP_TOKEN: 'osp_other' } })
    assert.equal(stderr, 'osp: OSP_TOKEN is set and overrides the stored token\n')
  })
})

spec('the token of a command', (it) => {
  it('comes from --token-file, OSP_TOKEN or osp login, in this order', async () => {
    await using at = await tokenServer()
    await at.osp(['login'], { input: 'osp_alices' })
    await at.at.write('token', 'osp_file\n')
    const file = join(at.at.path, 'token')
    const comesIn = async (token: string, args: readonly string[], env = {}) => {
      at.tokens.set('alice', token)
      const { code, stderr } = await at.osp(['who', ...args], { env })
      assert.deepEqual([code, stderr], [0, ''])
    }
    await comesIn('osp_alices', [])
    await comesIn('osp_alices', [], { OSP_TOKEN: '' })
    await comesIn('osp_variable', [], { OSP_TOKEN: 'osp_variable' })
    await comesIn('osp_file', ['--token-file', file], { OSP_TOKEN: 'osp_variable' })
    await comesIn('osp_file', [], { OSP_TOKEN_FILE: file, OSP_TOKEN: 'osp_variable' })
  })

  it('can be read from a pipe, once for the whole command', async () => {
    if (process.platform === 'win32') return
    await using at = await tokenServer()
    const pipe = join(at.at.path, 'pipe')
    execFileSync('mkfifo', [pipe])
    await using listen = at.begin(['listen', '--json', '--token-file', pipe])
    await writeFile(pipe, 'osp_alices\n')
    await listen.printed(/"online"/u)
    await at.leave(async () => void (await listen.printed(/"waiting"/u)))
    await listen.printed(/"waiting"[\s\S]*"online"/u)
  })

  it('is read again for each link, so that a new token takes effect', async () => {
    await using at = await tokenServer()
    await at.osp(['login'], { input: 'osp_alices' })
    await using listen = at.begin(['listen', '--json'])
    await listen.printed(/"online"/u)
    await at.leave(async () => {
      await listen.printed(/"waiting"/u)
      at.tokens.set('alice', 'osp_next')
      await keptToken(dirname(at.kept)).keep('osp_next')
    })
    await listen.printed(/"waiting"[\s\S]*"online"/u)
  })

  it('that other users can read is not used; the command says so, and exits with 4', async () => {
    await using at = await tokenServer()
    await at.osp(['login'], { input: 'osp_alices' })
    await chmod(at.kept, 0o640)
    const { code, stderr } = await at.osp(['who'])
    assert.equal(code, 4)
    assert.match(stderr, /other users can read the token in .*: run chmod 600 \//u)
  })

  it('that cannot be read is reported with its path', async () => {
    await using at = await tokenServer()
    await at.at.write('empty', '')
    const empty = await at.osp(['who', '--token-file', join(at.at.path, 'empty')])
    assert.deepEqual([empty.code, /the token file \S+\/empty is empty/u.test(empty.stderr)], [4, true], empty.stderr)
    const gone = await at.osp(['who', '--token-file', '/nowhere/token'])
    assert.deepEqual(
      [gone.code, /--token-file \/nowhere\/token cannot be read: it does not exist; check the path/u.test(gone.stderr)],
      [2, true],
      gone.stderr,
    )
    const odd = await at.osp(['who'], { env: { OSP_TOKEN: 'two words' } })
    assert.deepEqual([odd.code, /OSP_TOKEN contains spaces/u.test(odd.stderr)], [4, true], odd.stderr)
  })

  it('in place of its file is a usage error that does not repeat it', async () => {
    await using at = await tokenServer()
    const token = `osp_${'m'.repeat(43)}`
    const { code, stdout, stderr } = await at.osp(['who', '--token-file', token])
    assert.equal(code, 2)
    assert.ok(!`${stdout}${stderr}`.includes('mmm'))
  })
})
