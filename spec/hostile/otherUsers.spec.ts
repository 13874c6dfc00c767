import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, chown, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { usersFile } from '../../lib/adapters/auth/usersFile.ts'
import { askControl, directoryControl } from '../../lib/adapters/controlSocket/controlSocket.ts'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { checkNamedFile } from '../../lib/adapters/disk/rights.ts'
import { ownIdentity } from '../../lib/adapters/net/tls/ownIdentity.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { spool } from '../../lib/adapters/stateDirectory/spool.ts'
import { stateDirectory } from '../../lib/adapters/stateDirectory/stateDirectory.ts'
import { keptToken, readToken } from '../../lib/adapters/stateDirectory/token.ts'
import { OspError } from '../../lib/errors.ts'
import { claimed, fill } from '../../lib/testing/storage/steps.ts'
import { enter } from '../adapters/auth/usersFile/entering.ts'
import { opened } from '../adapters/disk/data.ts'
import { daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

const mallory = 12_345

/** Runs a shell command as another user of this machine. */
const asMallory = (command: string, ...args: readonly string[]) =>
  execFileSync('/bin/sh', ['-c', command, 'sh', ...args], { cwd: '/', uid: mallory, gid: mallory })

/** A temporary directory that other users can enter. */
async function openPlace() {
  const at = await place()
  await chmod(at.path, 0o755)
  return at
}

/** The text of a users' file with alice, with a given token. */
function usersText(token: string): string {
  const tokenSha256 = createHash('sha256').update(token).digest('hex')
  return JSON.stringify({ version: 1, users: [{ name: 'alice', tokenSha256, since: '2026-01-01T00:00:00.000Z' }] })
}

spec('another user of the machine', (it) => {
  const fact = 'cannot lead root elsewhere'
  if (process.platform === 'win32' || process.geteuid?.() !== 0) return it.skip(fact, 'only root can act as two users')

  it('who plants a lock cannot lead "ospd user" of root to another directory: nothing is changed there', async () => {
    await using at = await openPlace()
    const [data, target] = [join(at.path, 'data'), join(at.path, 'target')]
    await mkdir(join(target, 'deep'), { recursive: true })
    // A damaged database is cleared.
    await writeFile(join(target, 'CURRENT'), 'garbage')
    await mkdir(data)
    await chown(data, mallory, mallory)
    asMallory('ln -s "$1" "$2"', target, join(data, 'users.lock'))
    const { code, stdout, stderr } = await run('ospd', ['user', 'add', 'alice', '--data', data])
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /data belongs to another user \(uid 12345\).*sudo -u '#12345'/u)
    assert.deepEqual((await readdir(target)).sort(), ['CURRENT', 'deep'])
    assert.deepEqual(await readdir(data), ['users.lock'])
  })

  it('does not see a file of root in an error about a planted list of users', async () => {
    await using at = await openPlace()
    const secret = await at.write('secret', 'a secret of root')
    await mkdir(join(at.path, 'data'))
    await chown(join(at.path, 'data'), mallory, mallory)
    asMallory('ln -s "$1" "$2"', join(at.path, secret), join(at.path, 'data/users.json'))
    const data = join(at.path, 'data')
    const foreign = { code: 'data-format', message: /data belongs to another user/u }
    await assert.rejects(usersFile(data).list(), foreign)
    await assert.rejects(askControl(data, {}), foreign)
    await assert.rejects(disk(data).open(nodePlatform()), foreign)
  })

  it('who can rename the data directory starts no daemon with it', async () => {
    await using at = await openPlace()
    const upper = join(at.path, 'upper')
    await mkdir(upper)
    await chmod(upper, 0o777)
    const { code, stderr } = await run('ospd', ['serve', '--port', '0', '--data', join(upper, 'data')])
    assert.equal(code, 1)
    assert.match(stderr, /upper can be written to by other users, who could replace .*run "chmod go-w /u)
    assert.deepEqual(await readdir(upper), [])
  })

  it('who replaces the data directory of a running daemon cannot log in by a list of users in the new one', async () => {
    await using at = await openPlace()
    const upper = join(at.path, 'upper')
    const [data, aside] = [join(upper, 'data'), join(upper, 'aside')]
    const users = usersFile(data)
    const token = await users.add('alice')
    await using server = await daemon(data)
    await chmod(upper, 0o777)
    asMallory('mv "$1" "$2" && mkdir -m 755 "$1" && printf %s "$3" > "$1/users.json"', data, aside, usersText('osp_x'))
    await server.printed(/users-unreadable.*has been replaced since the start/u)
    await assert.rejects(enter(users, 'alice', 'osp_x'), { code: 'internal' })
    const env = { OSP_TOKEN: 'osp_x' }
    const flags = ['--server', server.server, '--user', 'alice', '--retry-for', '0']
    assert.notEqual((await run('osp', ['who', ...flags], { env })).code, 0)
    await assert.rejects(enter(users, 'alice', token), { code: 'internal' })
    asMallory('rm -r "$1" && mv "$2" "$1"', data, aside)
    await chmod(upper, 0o755)
    assert.deepEqual(await enter(users, 'alice', token), { user: 'alice' })
  })

  it('whose file replaces the list of users cannot log in with any token', async () => {
    await using at = await openPlace()
    const data = join(at.path, 'data')
    const users = usersFile(data)
    const token = await users.add('alice')
    const path = join(data, 'users.json')
    for (const spoil of [() => chown(path, mallory, mallory), () => chmod(path, 0o666)]) {
      await spoil()
      await assert.rejects(enter(users, 'alice', token), {
        code: 'internal',
        message: /users\.json (?:belongs|can be written)/u,
      })
      await chown(path, 0, 0)
      await chmod(path, 0o600)
      await enter(users, 'alice', token)
    }
  })

  it('whose directory is in the path of an upload gets no file, and no client gets the path', async () => {
    await using at = await openPlace()
    const data = join(at.path, 'data')
    await using storage = await opened(data)
    const { claim } = await claimed(storage)
    await fill(storage, claim)
    await using file = await storage.files.open(claim)
    const folder = join(data, 'files/alice')
    await mkdir(folder, { mode: 0o700 })
    await chown(folder, mallory, mallory)
    const isRefused = (error: unknown) => {
      const { code, message, publicText } = OspError.from(error)
      assert.equal(code, 'storage-unusable')
      assert.match(message, /files\/alice belongs to another user/u)
      assert.doesNotMatch(publicText ?? message, /files/u)
      return true
    }
    await assert.rejects(file.publish('sub/x', true), isRefused)
    await assert.rejects(storage.files.stored('alice', 'sub/x'), isRefused)
    assert.deepEqual(await readdir(folder), [])
    await chown(folder, 0, 0)
    assert.equal(await file.publish('sub/x', true), true)
  })

  it('cannot own the state directory of "osp": no token from it is sent, and no state is stored in it', async () => {
    await using at = await openPlace()
    const state = join(at.path, 'state')
    const own = join(state, '127.0.0.1_1', 'alice')
    await keptToken(own).keep('osp_x')
    await chown(state, mallory, mallory)
    const foreign = { code: 'data-format', message: /state belongs to another user \(uid 12345\)/u }
    const { receipts, tasks } = stateDirectory(own)
    const uses = [
      () => keptToken(own).load(),
      () => keptToken(own).keep('osp_y'),
      () => keptToken(own).forget(),
      () => receipts.load(),
      () => tasks.load(),
      () => spool(own, Readable.from([Buffer.from('x')]), 'x'),
      () => directoryControl(own).serve(() => {}),
      () => directoryControl(own).ask({}),
      () => ownIdentity(own),
    ]
    for (const use of uses) await assert.rejects(use(), foreign, String(use))
    assert.deepEqual(await readdir(own), ['token'])
  })

  it('cannot change a file that a flag names, but may own it if others cannot write to it', async () => {
    await using at = await openPlace()
    const config = join(at.path, 'config.json')
    await writeFile(config, '{}', { mode: 0o644 })
    await chown(config, mallory, mallory)
    checkNamedFile(config)
    await chmod(at.path, 0o1777)
    assert.throws(() => checkNamedFile(config), /config\.json belongs to another user/u)
    await chmod(at.path, 0o755)
    await chmod(config, 0o666)
    const open = /config\.json can be written to by other users; run "chmod go-w /u
    await assert.rejects(readToken(config), { code: 'usage', message: open })
    const { code, stderr } = await run('osp', ['who', '--config', config])
    assert.match(stderr, open)
    assert.equal(code, 2)
    // A pipe, as a shell creates it, is not a regular file.
    checkNamedFile('/dev/stdin')
    checkNamedFile('/dev/null')
  })
})
