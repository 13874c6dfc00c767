import assert from 'node:assert/strict'
import { lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { daemon, type Outcome, place, run, start } from '../support/commands.ts'
import { published } from '../support/published.ts'
import { spec } from '../support/spec.ts'

const user = (data: string, ...line: readonly string[]): Promise<Outcome> =>
  run('ospd', ['user', ...line, '--data', data])

const aToken = /^osp_[\w-]{43}\n$/u

spec('ospd user', (it) => {
  it('add prints only the token, and reports once that logins now require tokens', async () => {
    await using at = await place()
    const data = join(at.path, 'new', 'data')
    const first = await user(data, 'add', 'alice')
    assert.equal(first.code, 0)
    assert.match(first.stdout, aToken)
    const logsIn = (name: string) =>
      `ospd: the user logs in with: osp login --server HOST:6682 --user ${name}; add --tls if the server uses TLS\n`
    assert.equal(
      first.stderr,
      `${logsIn('alice')}ospd: only the users in ${data} can log in from now on, each with a token\n`,
    )
    const second = await user(data, 'add', 'bob')
    assert.match(second.stdout, aToken)
    assert.deepEqual([second.code, second.stderr], [0, logsIn('bob')])
    assert.notEqual(first.stdout, second.stdout)
    await at.write('new/data/tls/cert.pem', '')
    const third = await user(data, 'add', 'a b')
    assert.equal(third.stderr, "ospd: the user logs in with: osp login --server HOST:6682 --tls --user 'a b'\n")
    assert.equal(lstatSync(data).mode & 0o777, 0o700)
    assert.equal(lstatSync(join(data, 'users.json')).mode & 0o777, 0o600)
  })

  it('rotate prints only a new token, remove the name, and list one user per line', async () => {
    await using at = await place()
    await user(at.path, 'add', 'bob')
    const { stdout: former } = await user(at.path, 'add', '文')
    const { code, stdout, stderr } = await user(at.path, 'rotate', '文')
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, aToken)
    assert.notEqual(stdout, former)
    const listed = await user(at.path, 'list')
    assert.match(listed.stdout, /^bob {2}since \d{4}-\d\d-\d\d\n文 {3}since \d{4}-\d\d-\d\d\n$/u)
    assert.deepEqual(await user(at.path, 'remove', 'bob'), { code: 0, stdout: 'bob removed\n', stderr: '' })
    assert.match((await user(at.path, 'list')).stdout, /^文 {2}since .*\n$/u)
  })

  it('prints the documented events', async () => {
    await using at = await place()
    const told = async (...line: string[]) => {
      const { code, stdout } = await user(at.path, ...line, '--json')
      assert.equal(code, 0)
      return published(stdout, commandEvents.user)
    }
    const [added] = await told('add', 'alice')
    const [rotated] = await told('rotate', 'alice')
    assert.deepEqual([added?.event, added?.user, rotated?.event], ['added', 'alice', 'rotated'])
    assert.notEqual(added?.token, rotated?.token)
    assert.deepEqual(
      (await told('list')).map(({ event, user: name }) => [event, name]),
      [['user', 'alice']],
    )
    assert.deepEqual(await told('remove', 'alice'), [{ v: 1, event: 'removed', user: 'alice' }])
    assert.deepEqual(await told('list'), [])
  })

  it('leaves no token in the data directory or the log, and its hash once in the directory', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    await using running = await daemon(data)
    const { stdout } = await user(data, 'add', 'alice')
    const { stdout: newer } = await user(data, 'rotate', 'alice')
    await running.kill('SIGTERM')
    const kept = filesOf(data).map((path) => readFileSync(path, 'latin1'))
    const [, hash = ''] = /"tokenSha256": "([0-9a-f]{64})"/u.exec(readFileSync(join(data, 'users.json'), 'utf8')) ?? []
    assert.ok(kept.length > 3)
    for (const token of [stdout, newer]) {
      const secret = token.trim().slice(4)
      assert.deepEqual(
        kept.filter((text) => text.includes(secret) || text.includes(encoded(secret))),
        [],
      )
      assert.ok(!`${running.stdout}${running.stderr}`.includes(secret))
    }
    assert.equal(kept.filter((text) => text.includes(hash)).length, 1)
  })

  it('list says why it is empty, and remove creates no directory', async () => {
    await using at = await place()
    const none = join(at.path, 'none')
    const empty = { code: 0, stdout: '', stderr: '' }
    for (const line of [['list'], ['remove', 'alice'], ['rotate', 'alice']]) {
      const { code, stderr } = await user(none, ...line)
      assert.equal(code, 2)
      assert.ok(
        stderr.startsWith(`ospd: --data ${none} does not exist; specify the data directory of the daemon\n`),
        stderr,
      )
    }
    assert.deepEqual(readdirSync(at.path), [])
    assert.deepEqual(await user(at.path, 'list'), empty)
    await user(at.path, 'add', 'alice')
    await user(at.path, 'remove', 'alice')
    assert.deepEqual(await user(at.path, 'list'), empty)
  })

  it('that runs many times at once loses no user', async () => {
    await using at = await place()
    const names = ['a', 'b', 'c', 'd', 'e', 'f']
    const added = await Promise.all(names.map((name) => user(at.path, 'add', name)))
    assert.deepEqual(
      added.map(({ code }) => code),
      names.map(() => 0),
    )
    const { stdout } = await user(at.path, 'list')
    assert.deepEqual(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line[0]),
      names,
    )
  })

  it('names what it can’t do, and why', async () => {
    await using at = await place()
    await user(at.path, 'add', 'alice')
    const refusals: readonly [readonly string[], number, RegExp][] = [
      [['add', 'alice'], 1, /^ospd: alice is already a user; use "rotate" for a new token$/mu],
      [['add', 'ALICE'], 1, /^ospd: ALICE is too similar to the user alice; choose another name$/mu],
      [['add', 'аlice'], 1, /^ospd: аlice mixes .* \(Latin and Cyrillic\) .* --force$/mu],
      [['add', 'a1ice'], 1, /^ospd: a1ice can be mistaken for the user alice; .* --force$/mu],
      [['rotate', 'bob'], 1, /^ospd: there is no user bob in .*users\.json$/mu],
      [['remove', 'bob'], 1, /^ospd: there is no user bob in/mu],
      [['add', 'a/b'], 2, /^ospd: NAME: the user name "a\/b" is not allowed/mu],
      [['add'], 2, /^ospd: user add requires the NAME of a user$/mu],
      [['add', 'bob', 'carol'], 2, /^ospd: user add takes no operand carol$/mu],
      [['list', 'bob'], 2, /^ospd: user list takes no operand bob$/mu],
      [['rotate', 'alice', '--force'], 2, /^ospd: user rotate does not take --force$/mu],
      [['ad', 'bob'], 2, /^ospd: unknown verb ad; did you mean add\?$/mu],
      [['ls'], 2, /^ospd: unknown verb ls; did you mean list\?$/mu],
      [['delete', 'bob'], 2, /^ospd: unknown verb delete; did you mean remove\?$/mu],
      [[], 2, /^ospd: specify a verb: add, list, remove, rotate$/mu],
    ]
    for (const [line, code, text] of refusals) {
      const outcome = await user(at.path, ...line)
      assert.deepEqual([outcome.code, outcome.stdout], [code, ''], line.join(' '))
      assert.match(outcome.stderr, text)
    }
  })

  it('adds a name that can be mistaken for another one with --force, and warns', async () => {
    await using at = await place()
    await user(at.path, 'add', 'alice')
    const { code, stdout, stderr } = await user(at.path, 'add', 'a1ice', '--force')
    assert.deepEqual([code, /^osp_\S{43}\n$/u.test(stdout)], [0, true])
    assert.match(stderr, /^ospd: a1ice can be mistaken for the user alice; /mu)
    const fine = await user(at.path, 'add', 'bob', '--force')
    assert.doesNotMatch(fine.stderr, /people/u)
  })

  it('does not write over a list that is damaged', async () => {
    await using at = await place()
    await at.write('users.json', '{}')
    const { code, stderr } = await user(at.path, 'add', 'alice')
    assert.equal(code, 1)
    assert.match(stderr, /^ospd: .*users\.json is not a list of users .*restore a valid copy$/mu)
    assert.equal(readFileSync(join(at.path, 'users.json'), 'utf8'), '{}')
  })

  it('reports a token that could not be printed', async () => {
    await using at = await place()
    const running = start('ospd', ['user', 'add', 'alice', '--data', at.path])
    running.child.stdout?.destroy()
    assert.equal((await running.ended).code, 1)
    assert.match(running.stderr, /the token could not be printed; run "ospd user rotate alice"/u)
    assert.match(running.stderr, /not all results could be printed/u)
  })

  it('shows examples', async () => {
    const { stdout } = await run('ospd', ['user', '--help'])
    for (const verb of ['add', 'list', 'remove', 'rotate'])
      assert.match(stdout, new RegExp(`^ {2}ospd user ${verb} `, 'mu'))
  })
})

const encoded = (text: string) => Buffer.from(text).toString('base64')

function filesOf(directory: string): readonly string[] {
  const paths = readdirSync(directory, { recursive: true }).map((name) => join(directory, String(name)))
  return paths.filter((path) => statSync(path).isFile())
}
