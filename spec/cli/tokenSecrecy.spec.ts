import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Outcome, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'
import { type TokenServer, tokenServer } from '../support/tokenServer.ts'

const marked = 'osp_marked-0123456789-marked'

/** Returns every file below a directory with its content. */
function filesBelow(directory: string): readonly (readonly [path: string, content: string])[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return files.map((path) => [path, readFileSync(path, 'latin1')])
}

/** A command line of every command, in an order in which each has an effect. */
const lines: readonly (readonly string[])[] = [
  ['send', 'a.txt'],
  ['add', 'b.txt'],
  ['pause'],
  ['continue'],
  ['tasks', '--why'],
  ['cancel', '--all'],
  ['msg', 'alice', 'hi'],
  ['listen', '--count', '1'],
  ['who'],
  ['logout'],
]

/** The commands that connect to the server. */
const asking = lines.filter(([command = '']) => ['send', 'cancel', 'msg', 'listen', 'who'].includes(command))

async function runAll(at: TokenServer, lines: readonly (readonly string[])[], env = {}): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const line of lines) outcomes.push(await at.osp(line, { cwd: at.at.path, env }))
  return outcomes
}

function assertSecret(at: TokenServer, outcomes: readonly Outcome[]): void {
  for (const { stdout, stderr } of outcomes) assert.ok(!`${stdout}${stderr}`.includes('marked'), `${stdout}${stderr}`)
  assert.ok(!JSON.stringify(at.log).includes('marked'))
  const holders = filesBelow(at.at.path).filter(([, content]) => content.includes('marked'))
  assert.deepEqual(
    holders.map(([path]) => path).filter((path) => path !== at.kept),
    [],
  )
}

async function server() {
  const at = await tokenServer(marked)
  for (const name of ['a.txt', 'b.txt']) await at.at.write(name, name)
  return at
}

spec('a token', (it) => {
  it('is in no output and no file of a command, except the file that stores it', async () => {
    await using at = await server()
    const login = await at.osp(['login', '--json'], { input: marked })
    const outcomes = await runAll(at, lines)
    assert.deepEqual(
      outcomes.map(({ code }) => code),
      lines.map(() => 0),
    )
    assertSecret(at, [login, ...outcomes])
  })

  it('of the environment is in nothing at all, also where the server refuses it', async () => {
    await using at = await server()
    at.tokens.set('alice', 'another')
    const outcomes = await runAll(
      at,
      asking.map((line) => [...line, '--json']),
      { OSP_TOKEN: marked },
    )
    assert.ok(outcomes.some(({ code }) => code === 4))
    assertSecret(at, outcomes)
    const helps = await Promise.all(
      [
        ['--help'],
        ['login', '--help'],
        ['send', '--help'],
        ['completion'],
        ['--get-yargs-completions', 'osp', 'login', ''],
      ].map((args) => run('osp', args, { env: { OSP_TOKEN: marked } })),
    )
    assertSecret(at, helps)
  })

  it('is not in the text of a crash', async () => {
    await using at = await server()
    // A bug in the program.
    await at.at.write('fault.mjs', "performance.now = () => { throw new Error('a fault') }")
    const env = { OSP_TOKEN: marked, NODE_OPTIONS: `--import=${join(at.at.path, 'fault.mjs')}` }
    const outcome = await at.osp(['send', 'a.txt'], { cwd: at.at.path, env })
    assert.equal(outcome.code, 1)
    assert.match(outcome.stderr, /a fault/u)
    assertSecret(at, [outcome])
  })
})

spec('what osp keeps', (it) => {
  it('is for its owner alone, whatever the umask', async () => {
    await using at = await server()
    const umask = process.umask(0)
    try {
      await at.osp(['login'], { input: marked })
      await runAll(at, asking)
      await at.osp(['add', '-', '--as', 'c.txt'], { input: 'content' })
    } finally {
      process.umask(umask)
    }
    const state = join(at.at.path, 'state')
    const rights = readdirSync(state, { recursive: true, withFileTypes: true }).map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return `${entry.name} ${(statSync(path).mode & 0o777).toString(8)} ${entry.isDirectory() ? 'directory' : 'file'}`
    })
    assert.ok(rights.some((each) => each.startsWith('tasks ')) && rights.some((each) => each.startsWith('receipts ')))
    assert.deepEqual(
      rights.filter((each) => !/ (?:700 directory|600 file)$/u.test(each)),
      [],
    )
    assert.equal(statSync(state).mode & 0o777, 0o700)
  })
})
