import assert from 'node:assert/strict'
import { appendFile, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { rememberNames } from '../../../lib/adapters/auth/rememberNames.ts'
import { allowAll } from '../../../lib/adapters/auth/unverified.ts'
import { fixed } from '../../../lib/limits.ts'
import { here } from '../../../lib/testing/authenticator.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const comesIn = (authenticator: ReturnType<typeof allowAll>, user: string, host = here.host) =>
  authenticator.authenticate({ user, token: '', peer: { ...here, host } })

const lineOf = (user: string) => `${user}\t${here.host}\n`

spec('the names of accepted users', (it) => {
  it('are distinguished from other names on a server without a list', async () => {
    const authenticator = rememberNames(allowAll())
    assert.equal(await authenticator.knows('alice'), 'unseen')
    await comesIn(authenticator, 'alice')
    assert.deepEqual([await authenticator.knows('alice'), await authenticator.knows('bob')], [true, 'unseen'])
  })

  it('that log in at the same time are stored in their order', async () => {
    await using at = await place()
    const path = join(at.path, 'names')
    const names = Array.from({ length: 100 }, (_, number) => `user-${number}`)
    const authenticator = rememberNames(allowAll(), path)
    for (const name of names) void comesIn(authenticator, name)
    await comesIn(authenticator, 'last')
    assert.equal(await authenticator.knows('last'), true)
    assert.equal(await readFile(path, 'utf8'), [...names, 'last'].map(lineOf).join(''))
  })

  it('do not matter if there is a list, and do not include rejected users', async () => {
    for (const known of [true, false]) {
      const listed = { ...allowAll(), knows: async () => known }
      assert.equal(await rememberNames(listed).knows('alice'), known)
    }
    const refusing = {
      ...allowAll(),
      authenticate: async () => {
        throw new Error('no')
      },
    }
    const authenticator = rememberNames(refusing)
    await assert.rejects(comesIn(authenticator, 'alice'))
    assert.equal(await authenticator.knows('alice'), 'unseen')
  })

  it('are stored once each in a file that only its owner can read, also after an incomplete line', async () => {
    await using at = await place()
    const path = join(at.path, 'names')
    const again = () => rememberNames(allowAll(), path)
    const first = again()
    for (const user of ['alice', '丁 二', 'alice']) await comesIn(first, user)
    await first.knows('alice')
    assert.equal(await readFile(path, 'utf8'), `alice\t${here.host}\n丁 二\t${here.host}\n`)
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await appendFile(path, `bo\t${here.host}`)
    const second = again()
    assert.deepEqual([await second.knows('丁 二'), await second.knows('bob')], [true, 'unseen'])
    await comesIn(second, 'bob')
    assert.equal(await second.knows('bob'), true)
    assert.equal(await readFile(path, 'utf8'), ['alice', '丁 二', 'bo', 'bob'].map(lineOf).join(''))
  })

  it('are remembered until the process ends if no file can be written', async () => {
    await using at = await place()
    const authenticator = rememberNames(allowAll(), join(at.path, 'none', 'names'))
    await comesIn(authenticator, 'alice')
    assert.deepEqual([await authenticator.knows('alice'), await authenticator.knows('bob')], [true, 'unseen'])
  })

  it('are not distinguished from other names if the file cannot be read', async () => {
    await using at = await place()
    await mkdir(join(at.path, 'folder'))
    await writeFile(join(at.path, 'huge'), '')
    await truncate(join(at.path, 'huge'), 10_000_000_000)
    for (const name of ['folder', 'huge']) {
      const authenticator = rememberNames(allowAll(), join(at.path, name))
      await comesIn(authenticator, 'alice')
      assert.equal(await authenticator.knows('bob'), true, name)
    }
  })

  it('are remembered in addition to twenty thousand that an earlier version wrote without addresses', async () => {
    await using at = await place()
    const path = join(at.path, 'names')
    await writeFile(path, Array.from({ length: fixed.users }, (_, each) => `user ${each}\n`).join(''))
    const authenticator = rememberNames(allowAll(), path)
    assert.deepEqual([await authenticator.knows('user 0'), await authenticator.knows('bob')], [true, 'unseen'])
    await comesIn(authenticator, 'bob')
    const known = await Promise.all(['user 0', 'user 1', 'bob'].map((user) => authenticator.knows(user)))
    assert.deepEqual(known, ['unseen', true, true])
  })

  it('of one address, beyond its share, replace each other and not those of other addresses, also after a restart', async () => {
    await using at = await place()
    const path = join(at.path, 'names')
    const former = rememberNames(allowAll(), path)
    for (const user of ['alice', 'bob']) await comesIn(former, user, '192.0.2.1')
    await former.knows('bob')
    // Nine of them more than the share of the address.
    const share = (fixed.users - 2) / 2
    const made = (number: number) => `made up ${number}`
    await appendFile(path, Array.from({ length: share + 9 }, (_, each) => `${made(each)}\t192.0.2.2\n`).join(''))
    const authenticator = rememberNames(allowAll(), path)
    const known = (...users: string[]) => Promise.all(users.map((user) => authenticator.knows(user)))
    assert.deepEqual(await known('alice', 'bob', made(8), made(9)), [true, true, 'unseen', true])
    for (const number of [9, 100_000, 100_001]) await comesIn(authenticator, made(number), '192.0.2.2')
    await comesIn(authenticator, 'carol', '192.0.2.3')
    assert.deepEqual(await known('alice', 'bob', 'carol', made(9)), [true, true, true, true])
    assert.deepEqual(await known(made(10), made(11), made(12), made(100_001)), ['unseen', 'unseen', true, true])
  })

  it('are rewritten when the file has twice the maximum number of names', async () => {
    await using at = await place()
    const path = join(at.path, 'names')
    const lines = Array.from({ length: 2 * fixed.users }, (_, number) => `made up ${number}\t192.0.2.2\n`)
    await writeFile(path, `alice\t192.0.2.1\n${lines.join('')}`)
    const authenticator = rememberNames(allowAll(), path)
    await comesIn(authenticator, 'bob')
    assert.equal(await authenticator.knows('alice'), true)
    const written = (await readFile(path, 'utf8')).split('\n')
    assert.deepEqual([written.length, written[0]], [fixed.users / 2 + 2, 'alice\t192.0.2.1'])
    assert.ok(written.includes(`bob\t${here.host}`))
  })
})
