import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { daemon, place, run, start } from './support/commands.ts'
import { root } from './support/source.ts'
import { spec } from './support/spec.ts'

const page = readFileSync(join(root, 'README.md'), 'utf8')

/** The command lines of its shell blocks. */
const lines = [...page.matchAll(/^```sh\n(.*?)^```$/gmsu)].flatMap(([, block = '']) => block.trim().split('\n'))

spec('the README', (it) => {
  it('has only commands that are run here or in other specs', () => {
    assert.deepEqual(lines, [
      'npm ci && npm run demo',
      'npm install --global "$(npm pack --silent)"',
      'ospd serve --data ./ospd-data',
      'osp send movie.mp4 notes.txt',
      'osp tasks --all',
      'osp ls -l',
      'osp get -r --to backup',
      'osp msg alice bob "hi"',
      'osp send notes.txt --to alice',
      'osp listen --count 2 --user alice --save inbox',
      'osp who',
      'ospd user add alice',
      'ospd serve --host 0.0.0.0 --tls auto',
    ])
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>
    }
    assert.equal(scripts.demo, 'node examples/demo.mjs', 'spec/examples.spec.ts runs another demo')
    const cluster = scripts['demo:cluster']
    assert.equal(cluster, 'node examples/clusterDemo.mjs', 'spec/examples.long.spec.ts runs another demo')
  })

  it('shows how to send and download files', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'ospd-data'))
    await at.write('movie.mp4', 'a film')
    await at.write('notes.txt', 'some notes')
    const osp = (line = '') =>
      run('osp', line.split(' ').slice(1), { cwd: at.path, env: { OSP_SERVER: server.server, OSP_USER: 'me' } })
    const { code, stdout } = await osp(lines[3])
    assert.equal(code, 0)
    assert.equal(stdout.split('\n').length, 3)
    assert.equal(readFileSync(join(at.path, 'ospd-data/files/me/notes.txt'), 'utf8'), 'some notes')
    assert.match((await osp(lines[4])).stdout, /^1 {2}done .* movie\.mp4\n2 {2}done .* notes\.txt\n$/u)
    assert.match((await osp(lines[5])).stdout, /^ +6 B .* movie\.mp4\n +10 B .* notes\.txt\n$/u)
    assert.equal((await osp(lines[6])).code, 0)
    assert.equal(readFileSync(join(at.path, 'backup/notes.txt'), 'utf8'), 'some notes')
    assert.equal(readFileSync(join(at.path, 'backup/movie.mp4'), 'utf8'), 'a film')
  })

  it('shows how to send messages, and the users who are online', async () => {
    await using at = await place()
    await using server = await daemon(join(at.path, 'ospd-data'))
    const env = { OSP_SERVER: server.server, OSP_STATE: join(at.path, 'state') }
    const osp = async (line = '') => {
      const [, ...args] = line.split(' ').map((word) => word.replaceAll('"', ''))
      return (await run('osp', args, { cwd: at.path, env: { ...env, OSP_USER: 'me' } })).stdout
    }
    assert.equal(await osp(lines[7]), 'alice stored\nbob stored\n')
    await at.write('notes.txt', 'some notes')
    assert.match(await osp(lines[8]), / notes\.txt\n$/u)
    assert.match(await osp(lines[9]), / me hi\n.* me file notes\.txt saved as inbox.notes\.txt\n$/u)
    assert.equal(readFileSync(join(at.path, 'inbox/notes.txt'), 'utf8'), 'some notes')
    assert.equal(await osp(lines[10]), '')
  })

  it('shows how to accept other machines', async () => {
    await using at = await place()
    const words = (line = '') => line.split(' ').slice(1)
    const added = await run('ospd', words(lines[11]), { cwd: at.path })
    // No other machine may reach it here.
    const serving = words(lines[12]?.replace('0.0.0.0', '127.0.0.1'))
    await using server = start('ospd', serving, { cwd: at.path, env: { OSPD_PORT: '0' } })
    const [, port, fingerprint] = await server.printed(
      /^ospd ready on 127\.0\.0\.1:(\d+) with TLS, fingerprint (\S+),/u,
    )
    const env = {
      OSP_SERVER: `127.0.0.1:${port}`,
      OSP_USER: 'alice',
      OSP_STATE: join(at.path, 'state'),
      OSP_TLS: 'true',
      OSP_FINGERPRINT: fingerprint,
    }
    const { code, stderr } = await run('osp', ['login'], { cwd: at.path, env, input: added.stdout })
    assert.equal(code, 0, stderr)
    await at.write('a.txt', 'a')
    assert.match((await run('osp', ['send', 'a.txt'], { cwd: at.path, env })).stdout, /a\.txt\n$/u)
    assert.equal((await run('osp', ['send', 'a.txt', '--user', 'bob'], { cwd: at.path, env })).code, 4)
  })

  it('has at most 150 lines', () => assert.ok(page.trimEnd().split('\n').length <= 150))

  it('links to pages that exist', () => {
    const links = [...page.matchAll(/\]\((?!https:)([^)]+)\)/gu)].map(([, link = '']) => link)
    for (const link of links) assert.ok(readFileSync(join(root, link)).length > 0)
    assert.ok(links.length > 5)
  })
})
