import assert from 'node:assert/strict'
import { lstat, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loopbackOnly } from '../../../../lib/adapters/auth/unverified.ts'
import { usersFile } from '../../../../lib/adapters/auth/usersFile.ts'
import { fixed } from '../../../../lib/limits.ts'
import { spec } from '../../../support/spec.ts'
import { SwitchableAuthenticator } from '../../../support/switchableAuthenticator.ts'
import { temporaryDirectory } from '../../../testing/storage/places.ts'
import { assertOut, enter, fileOf, watching } from './entering.ts'

spec('a users’ file', (it) => {
  it('is created with its directory, readable only by its owner', async () => {
    await using place = await temporaryDirectory()
    const directory = join(place.path, 'a', 'b')
    await usersFile(directory).add('alice')
    assert.deepEqual((await readdir(directory)).sort(), ['users.json', 'users.lock'])
    const modes = await Promise.all(['.', 'users.json', 'users.lock'].map((name) => lstat(join(directory, name))))
    assert.deepEqual(
      modes.map(({ mode }) => (mode & 0o777).toString(8)),
      ['700', '600', '700'],
    )
  })

  it('contains the hash of a token, not the token', async () => {
    await using place = await temporaryDirectory()
    const token = await usersFile(place.path).add('alice')
    assert.match(token, /^osp_[\w-]{43}$/u)
    const text = await readFile(fileOf(place.path), 'utf8')
    assert.ok(!text.includes(token.slice(4)))
    assert.match(text, /"tokenSha256": "[0-9a-f]{64}"/u)
  })

  it('has another token for each user, and a new one replaces the old one', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    const [alice, bob] = [await users.add('alice'), await users.add('bob')]
    assert.notEqual(alice, bob)
    const told = await watching(users)
    const newer = await users.rotate('alice')
    await assertOut(users, 'alice', alice)
    await enter(users, 'alice', newer)
    await enter(users, 'bob', bob)
    assert.deepEqual(told, ['alice'])
  })

  it('lists its users by name, with their dates', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    assert.deepEqual(await users.list(), [])
    const before = Date.now()
    await users.add('bob')
    await users.add('alice')
    const list = await users.list()
    assert.deepEqual(
      list.map(({ name }) => name),
      ['alice', 'bob'],
    )
    for (const { since } of list) assert.ok(before <= since.getTime() && since.getTime() <= Date.now())
  })

  it('accepts no name that is equal or too similar to one in use', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    for (const [name, others] of [
      ['alice', ['alice', 'Alice', 'ａlice']],
      ['straße', ['STRASSE']],
      ['ﬁsh', ['fish']],
    ] as const) {
      await users.add(name)
      for (const other of others)
        await assert.rejects(users.add(other), { code: 'name-conflict', message: new RegExp(name) })
    }
    await assert.rejects(users.add('a/b'), { code: 'bad-name' })
    assert.equal((await users.list()).length, 3)
  })

  it('reports unknown users as unknown', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    await assert.rejects(users.remove('bob'), { code: 'unknown-user', message: /no user bob/u })
    await assert.rejects(users.rotate('bob'), { code: 'unknown-user' })
    assert.equal(await users.exists(), false)
    const nowhere = join(place.path, 'none')
    await assert.rejects(usersFile(nowhere).remove('bob'), { code: 'unknown-user' })
    await assert.rejects(lstat(nowhere), { code: 'ENOENT' })
  })

  it('has a maximum number of users', async () => {
    await using place = await temporaryDirectory()
    const row = (at: number) => ({ name: `${at}`, tokenSha256: 'a'.repeat(64), since: new Date(0).toISOString() })
    const rows = Array.from({ length: fixed.users }, (_, at) => row(at))
    const write = (users: object[]) => writeFile(fileOf(place.path), JSON.stringify({ version: 1, users }))
    const users = usersFile(place.path)
    await write(rows)
    await assert.rejects(users.add('alice'), { code: 'too-large', message: /20000 users/u })
    assert.equal((await users.list()).length, fixed.users)
    await write([...rows, row(-1)])
    await assert.rejects(users.list(), { code: 'data-format' })
  })
})

spec('a server without a users’ file', (it) => {
  it('rejects all logins, or uses the other authenticator', async () => {
    await using place = await temporaryDirectory()
    await assertOut(usersFile(place.path), 'alice', '')
    assert.equal(await usersFile(place.path).knows('alice'), false)
    await enter(usersFile(place.path, loopbackOnly()), 'alice', '')
    assert.equal(await usersFile(place.path, loopbackOnly()).knows('alice'), 'unlisted')
  })

  it('requires tokens from the first user on, and notifies that all users have changed', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path, loopbackOnly())
    const told: (string | undefined)[] = []
    users.watch((user) => told.push(user))
    await enter(users, 'alice', '')
    const token = await usersFile(place.path).add('alice')
    await assertOut(users, 'alice', '')
    assert.deepEqual(told, [undefined])
    await enter(users, 'alice', token)
  })

  it('requires tokens even after all users were removed', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path, loopbackOnly())
    await users.add('alice')
    await users.remove('alice')
    assert.equal(await users.exists(), true)
    await assertOut(users, 'alice', '')
  })

  it('passes on the changes of the other authenticator only while there is no file', async () => {
    await using place = await temporaryDirectory()
    const other = new SwitchableAuthenticator()
    const users = usersFile(place.path, other)
    const told: (string | undefined)[] = []
    users.watch((user) => told.push(user))
    await enter(users, 'alice', '')
    other.reportChange('alice')
    await users.add('bob')
    await assertOut(users, 'alice', '')
    other.reportChange('alice')
    assert.deepEqual(told, ['alice', undefined])
  })
})
