import assert from 'node:assert/strict'
import { appendFile, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { anybody } from '../../lib/adapters/anybody.ts'
import { rememberNames } from '../../lib/adapters/rememberNames.ts'
import { here } from '../../lib/contract/authenticator.ts'
import { fixed } from '../../lib/limits.ts'
import { place } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

const comesIn = (authenticator: ReturnType<typeof anybody>, user: string) =>
  authenticator.authenticate({ user, token: '', peer: here })

spec('names that have come in', (it) => {
  it('are told from those that have not, of a server that has no list', async () => {
    const authenticator = rememberNames(anybody())
    assert.equal(await authenticator.knows('alice'), 'unseen')
    await comesIn(authenticator, 'alice')
    assert.deepEqual([await authenticator.knows('alice'), await authenticator.knows('bob')], [true, 'unseen'])
  })

  it('do not matter where there is a list, and who was refused has not come in', async () => {
    for (const known of [true, false]) {
      const listed = { ...anybody(), knows: async () => known }
      assert.equal(await rememberNames(listed).knows('alice'), known)
    }
    const refusing = {
      ...anybody(),
      authenticate: async () => {
        throw new Error('no')
      },
    }
    const authenticator = rememberNames(refusing)
    await assert.rejects(comesIn(authenticator, 'alice'))
    assert.equal(await authenticator.knows('alice'), 'unseen')
  })

  it('are remembered in a file of its owner alone, each once, also after a line that a crash has torn', async () => {
    await using at = await place()
    const path = join(at.path, 'names')
    const again = () => rememberNames(anybody(), path)
    const first = again()
    for (const user of ['alice', '丁 二', 'alice']) await comesIn(first, user)
    await first.knows('alice')
    assert.equal(await readFile(path, 'utf8'), 'alice\n丁 二\n')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await appendFile(path, 'bo')
    const second = again()
    assert.deepEqual([await second.knows('丁 二'), await second.knows('bob')], [true, 'unseen'])
    await comesIn(second, 'bob')
    assert.equal(await second.knows('bob'), true)
    assert.equal(await readFile(path, 'utf8'), 'alice\n丁 二\nbo\nbob\n')
  })

  it('are remembered until the end where no file can be written', async () => {
    await using at = await place()
    const authenticator = rememberNames(anybody(), join(at.path, 'none', 'names'))
    await comesIn(authenticator, 'alice')
    assert.deepEqual([await authenticator.knows('alice'), await authenticator.knows('bob')], [true, 'unseen'])
  })

  it('are not told from others where the file cannot be read, or there are too many', async () => {
    await using at = await place()
    await mkdir(join(at.path, 'folder'))
    await writeFile(join(at.path, 'huge'), '')
    await truncate(join(at.path, 'huge'), 10_000_000_000)
    const full = Array.from({ length: fixed.users }, (_, each) => `user ${each}\n`).join('')
    await writeFile(join(at.path, 'full'), full)
    for (const name of ['folder', 'huge', 'full']) {
      const authenticator = rememberNames(anybody(), join(at.path, name))
      await comesIn(authenticator, 'alice')
      assert.equal(await authenticator.knows('bob'), true, name)
    }
    assert.equal(await readFile(join(at.path, 'full'), 'utf8'), full)
  })
})
