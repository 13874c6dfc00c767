import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type Place, place, run, start } from '../support/commands.ts'
import { freePort } from '../support/freePort.ts'
import { root } from '../support/source.ts'
import { spec } from '../support/spec.ts'

/** Resolves with the data directory that a daemon with these settings prints. */
async function dataOf(at: Place, flags: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  await using running = start('ospd', ['serve', '--port', '0', ...flags], { cwd: at.path, env })
  const [, data] = await running.printed(/data in (.*)\n/u)
  return data
}

async function refused(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { code, stdout, stderr } = await run('ospd', args, { env })
  assert.equal(code, 2)
  assert.equal(stdout, '')
  return stderr
}

spec('settings', (it) => {
  it('come from a flag, the environment, the configuration file or the default, in this order', async () => {
    await using at = await place()
    await at.write(
      'config.json',
      JSON.stringify({ data: './from-config', chunk: '500k', 'max-clients': 7, quiet: true }),
    )
    const config = ['--config', 'config.json']
    const env = { OSPD_DATA: './from-environment' }
    assert.equal(await dataOf(at, ['--data', './from-flag', ...config], env), './from-flag')
    assert.equal(await dataOf(at, config, env), './from-environment')
    assert.equal(await dataOf(at, config, {}), './from-config')
    assert.equal(await dataOf(at, [], { OSPD_CONFIG: 'config.json' }), './from-config')
    assert.equal(await dataOf(at, [], { OSPD_DATA: '' }), './ospd-data')
  })

  it('that are repeated have their last value', async () => {
    await using at = await place()
    assert.equal(await dataOf(at, ['--data', './a', '--data', './b'], {}), './b')
  })

  it('that are unknown are rejected, with a suggestion', async () => {
    assert.match(await refused(['serve', '--prot', '1']), /^ospd: unknown flag --prot; did you mean --port\?$/mu)
    assert.match(await refused(['serve', '--on-conf', 'x']), /unknown flag --on-conf; did you mean --on-conflict\?/u)
    assert.match(await refused(['serve', '-x']), /unknown flag -x/u)
    assert.match(await refused(['--verzion']), /did you mean --version\?/u)
  })

  it('of the connection do not apply to commands that only list tasks, but may be in the environment', async () => {
    await using at = await place()
    await at.write('config.json', '{"tls": true}')
    const flags = ['--state', at.path, '--user', 'alice', '--config', `${at.path}/config.json`]
    const env = { OSP_TLS_CA: '/none', OSP_TOKEN_FILE: '/none', OSP_ALLOW_PLAINTEXT: 'true' }
    const { code, stderr } = await run('osp', ['pause', ...flags], { env })
    assert.deepEqual([code, stderr], [0, 'osp: there is nothing to pause\n'])
    assert.match((await run('osp', ['tasks', ...flags, '--tls'])).stderr, /unknown flag --tls/u)
    assert.match((await run('osp', ['add', '--allow-plaintext', 'x'])).stderr, /unknown flag --allow-plaintext/u)
    for (const command of ['tasks', 'add', 'pause', 'continue', 'cancel'])
      assert.match((await run('osp', [command, '--retry-for', '1s'])).stderr, /unknown flag --retry-for/u)
    assert.match((await run('osp', ['cancel', '--help'])).stdout, /--token-file/u)
  })

  it('that concern an option that is not in use have no effect as variables, and are errors as flags', async () => {
    await using at = await place()
    const own = ['--state', at.path, '--user', 'alice', '--server', `127.0.0.1:${await freePort()}`]
    const flags = [...own, '--retry-for', '0']
    const data = ['--data', at.path]
    const all = { OSP_ALL: 'true' }
    const recursive = { OSP_RECURSIVE: 'true' }
    const calls = [
      ['osp', ['listen', ...flags], { OSP_TRIES: '3', OSP_CONCURRENCY: '300' }, ['--tries', '3']],
      ['osp', ['get', '--from', 'bob', 'x', '--to', at.path, ...flags], recursive, ['-r']],
      ['osp', ['get', 'x', '-', ...flags], recursive, ['-r']],
      ['osp', ['send', ...own], { OSP_FROM0: 'true' }, ['--from0']],
      ['osp', ['outbox', ...own], all, ['--all']],
      ['osp', ['outbox', '--remove', '7', ...own], all, ['--all']],
      ['osp', ['cancel', '7', ...own], all, ['--all']],
      ['osp', ['inbox', ...flags], all, ['--all']],
      ['osp', ['inbox', '--remove', '7', ...flags], all, ['--all']],
      ['ospd', ['user', 'list', ...data], { OSPD_FORCE: 'true' }, ['--force']],
      ['ospd', ['uploads', 'remove', 'alice/x', ...data], { OSPD_OLDER_THAN: '1d' }, ['--older-than', '1d']],
    ] as const
    for (const [program, args, env, more] of calls) {
      const what = `${program} ${args.join(' ')}`
      const [plain, set] = [await run(program, args), await run(program, args, { env })]
      assert.deepEqual(set, plain, what)
      const { code, stderr } = await run(program, [...args, ...more])
      assert.deepEqual([code, plain.stderr === stderr], [2, false], what)
    }
  })

  it('in a configuration file are checked as strictly', async () => {
    await using at = await place()
    const path = `${at.path}/config.json`
    await at.write('config.json', '{"prot": 1}')
    const text = await refused(['serve', '--config', path])
    assert.ok(text.includes(`in ${path}: unknown setting prot; did you mean port?`), text)
    await at.write('config.json', '{"port": "x"}')
    assert.match(await refused(['serve', '--config', path]), /"port" in .*config\.json cannot be "x": it takes a port/u)
    await at.write('config.json', '{"host": {"length": {"toString": 1}}}')
    assert.match(await refused(['serve', '--config', path]), /"host" in .*config\.json cannot be \{.*: it takes/u)
    await at.write('config.json', '{')
    assert.match(await refused(['serve', '--config', path]), /--config .*config\.json is not JSON: /u)
    assert.match(
      await refused(['serve', '--config', `${path}.none`]),
      /--config .*none cannot be read: it does not exist; check the path/u,
    )
  })

  it('with invalid values are rejected with the accepted values', async () => {
    assert.match(
      await refused(['serve', '--port', '70000']),
      /--port cannot be "70000": it takes a port from 0 to 65535/u,
    )
    assert.match(await refused(['serve', '--chunk', '1X']), /--chunk cannot be "1X": it takes a size/u)
    assert.match(
      await refused(['serve'], { OSPD_KEEP_ALIVE: '15' }),
      /OSPD_KEEP_ALIVE cannot be "15": it takes a duration/u,
    )
    assert.match(await refused(['serve', '--on-conflict', 'ask']), /it takes one of replace, rename, reject/u)
    assert.match(await refused(['serve', '--data']), /^ospd: --data takes a path$/mu)
    assert.match(await refused(['serve', '--tls', '--quiet']), /^ospd: --tls takes auto, not --quiet$/mu)
    assert.match(await refused(['serve', '--quiet=maybe', 'x']), /takes no operand x|cannot be/u)
  })
})

spec('both programs', (it) => {
  for (const program of ['ospd', 'osp'] as const) {
    it(`print their version (${program})`, async () => {
      const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string }
      assert.deepEqual(await run(program, ['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
    })

    it(`print a completion script (${program})`, async () => {
      const { code, stdout } = await run(program, ['completion'])
      assert.equal(code, 0)
      assert.match(stdout, new RegExp(`^###-begin-${program}-completions-###`, 'u'))
    })

    it(`require a command (${program})`, async () => {
      const { code, stdout, stderr } = await run(program, [])
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
      assert.match(stderr, /specify a command: /u)
    })

    it(`suggest a similar command (${program})`, async () => {
      const typed = program === 'ospd' ? { sreve: 'serve' } : { sned: 'send' }
      for (const [wrong, meant] of Object.entries({ ...typed, version: '--version' })) {
        const { code, stderr } = await run(program, [wrong])
        assert.equal(code, 2)
        assert.match(stderr, new RegExp(`unknown command ${wrong}; did you mean ${meant}\\?`, 'u'))
      }
    })
  }

  it('show an example for each command', async () => {
    for (const [program, command] of [
      ['ospd', 'serve'],
      ['osp', 'send'],
    ] as const) {
      const { code, stdout } = await run(program, [command, '--help'])
      assert.equal(code, 0)
      assert.match(stdout, new RegExp(`^Examples:\\n +${program} ${command}`, 'mu'))
    }
  })
})
