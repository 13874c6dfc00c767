import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { ownIdentity } from 'ospd/node'
import { commandEvents } from '../../bin/common/events.ts'
import { daemon, place, run } from '../support/commands.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'
import { tokenServer } from '../support/tokenServer.ts'

/** A server that requires tokens; alice has logged in, and `osp` runs commands without flags about the server. */
async function loggedIn() {
  const at = await tokenServer()
  const state = join(at.at.path, 'state')
  await at.osp(['login'], { input: 'osp_alices' })
  const osp = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    run('osp', args, { cwd: at.at.path, input: '', env: { OSP_STATE: state, ...env } })
  return Object.assign(at, { plain: osp, state, name: `alice@${at.its.address}` })
}

spec('after osp login', (it) => {
  it('provides the server, user and token of commands without flags', async () => {
    await using at = await loggedIn()
    await at.at.write('a.txt', 'a')
    const { code, stderr } = await at.plain(['send', 'a.txt'])
    assert.deepEqual([code, stderr], [0, ''])
    assert.equal((await at.plain(['ls'])).stdout, 'a.txt\n')
    assert.match((await at.plain(['tasks', '--all'])).stdout, /a\.txt/u)
    assert.equal((await at.plain(['logout'])).stdout, `logged out of ${at.its.address} as alice\n`)
    assert.equal((await at.plain(['ls'])).code, 4)
    assert.equal((await run('osp', ['login'], { input: 'osp_alices', env: { OSP_STATE: at.state } })).code, 0)
    assert.equal((await at.plain(['ls'])).stdout, 'a.txt\n')
  })

  it('is overridden by flags, variables and the --config file', async () => {
    await using at = await loggedIn()
    at.tokens.set('bob', 'osp_bobs')
    const config = await at.at.write('config.json', '{ "user": "bob" }')
    for (const [args, env] of [
      [['--user', 'bob'], {}],
      [[], { OSP_USER: 'bob' }],
      [['--config', config], {}],
    ] as const) {
      const { code, stderr } = await at.plain(['who', ...args], env)
      assert.equal(code, 4)
      assert.match(stderr, /no token was sent; if you have a token .* --user bob/u)
      assert.equal((await at.plain(['who', ...args], { OSP_TOKEN: 'osp_bobs', ...env })).code, 0)
    }
  })

  it('is ignored if another server is specified', async () => {
    await using at = await loggedIn()
    for (const [args, env] of [
      [['--server', '127.0.0.1:1'], {}],
      [[], { OSP_SERVER: '127.0.0.1:1' }],
    ] as const) {
      const { stdout, stderr } = await at.plain(['logout', '--json', ...args], env)
      assert.equal(stderr, '')
      const [event] = published(stdout, commandEvents.logout)
      assert.equal(event?.server, '127.0.0.1:1')
      assert.notEqual(event?.user, 'alice')
    }
    // The same server, named again.
    assert.equal((await at.plain(['who', '--server', at.its.address])).code, 0)
  })

  it('provides TLS with the same authority, from any directory', async () => {
    await using at = await place()
    const state = join(at.path, 'state')
    const identity = await ownIdentity(join(at.path, 'data', 'tls'))
    await at.write('ca.pem', identity.cert)
    await run('ospd', ['user', 'add', 'alice', '--data', join(at.path, 'data')])
    const { stdout: token } = await run('ospd', ['user', 'rotate', 'alice', '--data', join(at.path, 'data')])
    await using server = await daemon(join(at.path, 'data'), ['--tls', 'auto', '--host', 'localhost'])
    const address = `localhost:${server.port}`
    const login = [
      'login',
      '--server',
      address,
      '--tls',
      '--fingerprint',
      fingerprintIn(server.stdout),
      '--user',
      'alice',
    ]
    const how = { cwd: at.path, env: { OSP_STATE: state } }
    assert.equal((await run('osp', login, { ...how, input: token })).code, 0)
    assert.deepEqual(await run('osp', ['ls'], { env: how.env }), { code: 0, stdout: '', stderr: '' })
    const plain = await run('osp', ['ls', '--no-tls'], { env: how.env })
    assert.equal(plain.code, 4)
    assert.match(plain.stderr, /without TLS another program can impersonate it; specify --tls/u)
    assert.equal((await run('osp', ['context', 'ls'], { env: how.env })).stdout, `*  alice@${address}  TLS\n`)
  })

  it('is refused if other users can read the file', async () => {
    await using at = await loggedIn()
    await chmod(join(at.state, 'contexts.json'), 0o644)
    const { code, stderr } = await at.plain(['who'])
    assert.equal(code, 2)
    assert.match(stderr, /^osp: other users can read the contexts in .*: run chmod 600 /u)
  })

  it('is replaced by another login, which reports it', async () => {
    await using at = await loggedIn()
    at.tokens.set('bob', 'osp_bobs')
    const { stderr } = await run('osp', ['login', '--user', 'bob'], {
      input: 'osp_bobs',
      env: { OSP_STATE: at.state },
    })
    assert.equal(stderr, `osp: bob@${at.its.address} is the current context now, instead of ${at.name}\n`)
    assert.equal((await at.plain(['who'])).code, 0)
  })
})

spec('osp context', (it) => {
  it('lists, selects and removes contexts', async () => {
    await using at = await loggedIn()
    at.tokens.set('bob', 'osp_bobs')
    const bob = `bob@${at.its.address}`
    await run('osp', ['login', '--user', 'bob', '--quiet'], { input: 'osp_bobs', env: { OSP_STATE: at.state } })
    const listed = await at.plain(['context', 'ls'])
    assert.equal(listed.stdout, `   ${at.name}  without TLS\n*  ${bob}    without TLS\n`)
    const used = await at.plain(['context', 'use', at.name])
    assert.deepEqual(used, { code: 0, stdout: `${at.name} is the current context\n`, stderr: '' })
    const events = published((await at.plain(['context', 'ls', '--json'])).stdout, commandEvents.context)
    assert.deepEqual(
      events.map(({ name, current }) => [name, current]),
      [
        [at.name, true],
        [bob, false],
      ],
    )
    const removed = await at.plain(['context', 'rm', at.name, bob, '--json'])
    assert.deepEqual(
      published(removed.stdout, commandEvents.context).map(({ event, name }) => [event, name]),
      [
        ['context-removed', at.name],
        ['context-removed', bob],
      ],
    )
    assert.ok(!existsSync(at.kept))
    for (const args of [['context'], ['context', 'ls']])
      assert.deepEqual(await at.plain(args), { code: 0, stdout: '', stderr: '' })
  })

  it('says what to do if the current context is removed', async () => {
    await using at = await loggedIn()
    at.tokens.set('bob', 'osp_bobs')
    const bob = `bob@${at.its.address}`
    await run('osp', ['login', '--user', 'bob', '--quiet'], { input: 'osp_bobs', env: { OSP_STATE: at.state } })
    const text = (advice: string) =>
      `osp: no context is selected now, so commands use the default server; ${advice} to select one\n`
    assert.equal((await at.plain(['context', 'rm', bob])).stderr, text('run "osp context use NAME" or "osp login"'))
    assert.equal((await at.plain(['context', 'rm', at.name])).stderr, '')
    await run('osp', ['login', '--user', 'bob', '--server', at.its.address], {
      input: 'osp_bobs',
      env: { OSP_STATE: at.state },
    })
    assert.equal((await at.plain(['context', 'rm', bob])).stderr, text('run "osp login"'))
  })

  const wrong: readonly (readonly [args: readonly string[], message: RegExp])[] = [
    [['lst'], /^osp: unknown verb lst; did you mean ls\?$/mu],
    [['remove', 'a'], /^osp: unknown verb remove; did you mean rm\?$/mu],
    [['switch', 'a'], /^osp: unknown verb switch; did you mean use\?$/mu],
    [['ls', 'a'], /^osp: context ls takes no operand a$/mu],
    [['use'], /^osp: context use requires the NAME of a context$/mu],
    [['use', 'a', 'b'], /^osp: context use takes no operand b$/mu],
    [['rm', 'alice@x'], /^osp: unknown context alice@x$/mu],
  ]
  for (const [args, message] of wrong) {
    it(`rejects ${JSON.stringify(args)}`, async () => {
      await using at = await place()
      const { code, stderr } = await run('osp', ['context', ...args], { env: { OSP_STATE: at.path } })
      assert.equal(code, 2)
      assert.match(stderr, message)
    })
  }
})

const fingerprintIn = (text: string) => /SHA256:[A-Za-z\d+/]{43}/u.exec(text)?.[0] ?? ''
