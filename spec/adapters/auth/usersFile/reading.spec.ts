import assert from 'node:assert/strict'
import { lstat, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { loopbackOnly } from '../../../../lib/adapters/auth/unverified.ts'
import type { UsersNews } from '../../../../lib/adapters/auth/usersFile/seen.ts'
import { usersFile } from '../../../../lib/adapters/auth/usersFile.ts'
import { fixed } from '../../../../lib/limits.ts'
import { spec } from '../../../support/spec.ts'
import { temporaryDirectory } from '../../../testing/storage/places.ts'
import { assertOut, enter, fileOf, watching } from './entering.ts'

const soundRow = { name: 'alice', tokenSha256: 'a'.repeat(64), since: '2026-01-01T00:00:00.000Z' }
const textOf = (...users: object[]) => JSON.stringify({ version: 1, users })

spec('a users’ file without a crc32', (it) => {
  it('is accepted, and has one after the next change', async () => {
    await using place = await temporaryDirectory()
    await writeFile(fileOf(place.path), textOf(soundRow))
    const users = usersFile(place.path)
    assert.deepEqual(
      (await users.list()).map(({ name }) => name),
      ['alice'],
    )
    await users.add('bob')
    assert.match(await readFile(fileOf(place.path), 'utf8'), /^ {2}"crc32": "[\da-f]{8}",$/mu)
    assert.equal((await users.list()).length, 2)
  })
})

spec('a users’ file that cannot be read', (it) => {
  for (const [what, text] of [
    ['is empty', ''],
    ['ends in its midst', textOf(soundRow).slice(0, 60)],
    ['is of a later version', textOf(soundRow).replace('1', '2')],
    ['has a hash that is none', textOf({ ...soundRow, tokenSha256: 'a' })],
    ['has a name that is none', textOf({ ...soundRow, name: '..' })],
    ['has a user twice', textOf(soundRow, soundRow)],
    ['has users that differ in case alone', textOf(soundRow, { ...soundRow, name: 'ALICE' })],
    ['has something strange for users', '{"version":1,"users":{"length":{"toString":1}}}'],
    ['is too long', `${textOf(soundRow)}${' '.repeat(fixed.users * 512)}`],
  ] as const) {
    it(`because it ${what} rejects all logins, and is not overwritten`, async () => {
      await using place = await temporaryDirectory()
      await writeFile(fileOf(place.path), text)
      const users = usersFile(place.path, loopbackOnly())
      for (let time = 0; time < 2; time++) await assertOut(users, 'alice', '', 'internal')
      await assert.rejects(users.knows('alice'), { code: 'internal' })
      const uses = [
        () => users.add('bob'),
        () => users.rotate('alice'),
        () => users.remove('alice'),
        () => users.list(),
      ]
      for (const use of uses) {
        await assert.rejects(use(), { code: 'data-format', message: /users\.json .*restore a valid copy/u })
      }
      assert.equal(await users.exists(), true)
      assert.equal(await readFile(fileOf(place.path), 'utf8'), text)
    })
  }

  it('is reported with the field that is wrong, and why', async () => {
    await using place = await temporaryDirectory()
    await usersFile(place.path).add('alice')
    const text = await readFile(fileOf(place.path), 'utf8')
    await writeFile(fileOf(place.path), text.replace(/(?<="tokenSha256": )"[^"]*"/u, '"short"'))
    await assert.rejects(usersFile(place.path).list(), {
      code: 'data-format',
      message: /users\.0\.tokenSha256: Invalid string: must match pattern/u,
    })
  })

  it('because one digit of a hash or one letter of a name has changed rejects all logins', async () => {
    await using place = await temporaryDirectory()
    const token = await usersFile(place.path).add('alice')
    const text = await readFile(fileOf(place.path), 'utf8')
    const changed = [
      text.replace(/(?<="tokenSha256": ")./u, (digit) => (digit === '0' ? '1' : '0')),
      text.replace('"alice"', '"elice"'),
    ]
    for (const damaged of changed) {
      await writeFile(fileOf(place.path), damaged)
      const users = usersFile(place.path)
      await assertOut(users, 'alice', token, 'internal')
      await assert.rejects(users.list(), {
        code: 'data-format',
        message: /users\.json .*its crc32 does not match; .*"crc32"/u,
      })
    }
  })

  it('does not affect existing links; when it is readable again, its changes are reported', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    const tokens = [await users.add('alice'), await users.add('bob')] as const
    const told = await watching(users)
    const good = await readFile(fileOf(place.path), 'utf8')
    await writeFile(fileOf(place.path), 'nonsense')
    await assertOut(users, 'alice', tokens[0], 'internal')
    assert.deepEqual(told, [])
    await writeFile(fileOf(place.path), good)
    await enter(users, 'alice', tokens[0])
    assert.deepEqual(told, [])
    await users.remove('bob')
    await enter(users, 'alice', tokens[0])
    assert.deepEqual(told, ['bob'])
  })

  it('accepts no login while it is missing, and ends no link; once restored, it works as before', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path, loopbackOnly())
    const token = await users.add('alice')
    const told = await watching(users)
    await rename(fileOf(place.path), `${fileOf(place.path)}.away`)
    for (let time = 0; time < 2; time++) await assertOut(users, 'alice', '', 'internal')
    await assert.rejects(users.knows('alice'), { code: 'internal', message: /users\.json is missing, .* restore it/u })
    await rename(`${fileOf(place.path)}.away`, fileOf(place.path))
    await enter(users, 'alice', token)
    await assertOut(users, 'alice', '')
    assert.deepEqual(told, [])
  })

  it('because it is missing rejects all logins, also if it was damaged before', async () => {
    await using place = await temporaryDirectory()
    await writeFile(fileOf(place.path), 'nonsense')
    const users = usersFile(place.path, loopbackOnly())
    assert.equal(await users.exists(), true)
    await rm(fileOf(place.path))
    await assertOut(users, 'alice', '', 'internal')
  })

  it('is reported once, and once more with the changes when it is readable again', async () => {
    await using place = await temporaryDirectory()
    const news: unknown[] = []
    const noticed = (each: UsersNews) =>
      news.push(
        each.what === 'read' ? [each.users, ...each.changes.map(({ user, how }) => `${user} ${how}`)] : each.what,
      )
    const users = usersFile(place.path, loopbackOnly(), { noticed })
    for (const name of ['alice', 'bob']) await users.add(name)
    await assertOut(users, 'alice', '')
    await rm(fileOf(place.path))
    for (let time = 0; time < 3; time++) await assertOut(users, 'alice', '', 'internal')
    await writeFile(fileOf(place.path), 'nonsense')
    await assertOut(users, 'alice', '', 'internal')
    await writeFile(fileOf(place.path), textOf(soundRow, { ...soundRow, name: 'carol' }))
    for (let time = 0; time < 3; time++) await assertOut(users, 'alice', '')
    assert.deepEqual(news, [[2], 'unreadable', [2, 'bob removed', 'alice rotated', 'carol added']])
  })
})

spec('a version of a users’ file', (it) => {
  it('is later than the previous one, even if the clock was set back', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    const first = await users.add('alice')
    const future = Date.now() / 1_000 + 86_400
    await utimes(fileOf(place.path), future, future)
    await enter(users, 'alice', first)
    const { mtimeMs: before } = await lstat(fileOf(place.path))
    const second = await users.rotate('alice')
    assert.ok((await lstat(fileOf(place.path))).mtimeMs > before)
    await assertOut(users, 'alice', first)
    await enter(users, 'alice', second)
  })

  it('is used by the next login, however quickly versions follow each other', async () => {
    await using place = await temporaryDirectory()
    const [writer, reader] = [usersFile(place.path), usersFile(place.path)]
    let token = await writer.add('alice')
    for (let time = 0; time < 30; time++) {
      await enter(reader, 'alice', token)
      const former = token
      token = await writer.rotate('alice')
      await assertOut(reader, 'alice', former)
    }
  })
})
