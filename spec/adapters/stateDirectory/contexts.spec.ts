import assert from 'node:assert/strict'
import { chmod, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Context, keptContexts } from '../../../lib/adapters/stateDirectory/contexts.ts'
import { clientLimits } from '../../../lib/limits.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const alice: Context = { server: 'files.example:6682', user: 'alice', tls: true, tlsCa: '/ca.pem' }
const bob: Context = { server: '[::1]:7', user: 'bob', tls: false, allowPlaintext: true }

spec('the contexts of a state directory', (it) => {
  it('are stored by server and user; the latest is the current one', async () => {
    await using at = await place()
    const state = join(at.path, 'state')
    const contexts = keptContexts(state)
    assert.deepEqual(contexts.load(), { current: undefined, all: new Map() })
    assert.equal(await contexts.use(alice), 'alice@files.example:6682')
    assert.equal(await contexts.use(bob), 'bob@[::1]:7')
    const changed = { ...alice, tlsCa: '/other.pem' }
    await contexts.use(changed)
    const { current, all } = keptContexts(state).load()
    assert.equal(current, 'alice@files.example:6682')
    assert.deepEqual(
      [...all],
      [
        ['bob@[::1]:7', bob],
        ['alice@files.example:6682', changed],
      ],
    )
    assert.deepEqual(await readdir(state), ['contexts.json'])
  })

  it('are selected and removed by name', async () => {
    await using at = await place()
    const contexts = keptContexts(at.path)
    await contexts.use(alice)
    await contexts.use(bob)
    assert.equal(await contexts.select('alice@files.example:6682'), true)
    assert.equal(await contexts.select('carol@files.example:6682'), false)
    assert.equal(contexts.load().current, 'alice@files.example:6682')
    assert.deepEqual(await contexts.remove('bob@[::1]:7'), bob)
    assert.equal(contexts.load().current, 'alice@files.example:6682')
    assert.deepEqual(await contexts.remove('alice@files.example:6682'), alice)
    assert.equal(await contexts.remove('alice@files.example:6682'), undefined)
    assert.deepEqual(contexts.load(), { current: undefined, all: new Map() })
  })

  it('are bounded in number; a new one replaces the one that was added first', async () => {
    await using at = await place()
    const { contexts: most } = clientLimits
    try {
      Object.assign(clientLimits, { contexts: 2 })
      for (const user of ['a', 'b', 'c']) await keptContexts(at.path).use({ ...alice, user })
      const { current, all } = keptContexts(at.path).load()
      assert.deepEqual([...all.values()].map(({ user }) => user).join(), 'b,c')
      assert.equal(current, 'c@files.example:6682')
    } finally {
      Object.assign(clientLimits, { contexts: most })
    }
  })

  if (process.platform === 'win32') it.skip('are in a file that only its owner can access', 'Windows has no such bits')
  else {
    it('are in a file that only its owner can access, and are refused if others can read it', async () => {
      await using at = await place()
      const [state, umask] = [join(at.path, 'state'), process.umask(0)]
      try {
        await keptContexts(state).use(alice)
      } finally {
        process.umask(umask)
      }
      const path = join(state, 'contexts.json')
      assert.equal((await stat(path)).mode & 0o777, 0o600)
      assert.equal((await stat(state)).mode & 0o077, 0)
      await chmod(path, 0o640)
      const message = `other users can read the contexts in ${path}: run chmod 600 ${path}`
      assert.throws(() => keptContexts(state).load(), { code: 'usage', message })
      await assert.rejects(keptContexts(state).use(bob), { code: 'usage', message })
      await chmod(path, 0o622)
      assert.throws(() => keptContexts(state).load(), { code: 'data-format', message: /can be written to by other/u })
    })
  }

  for (const content of [
    '',
    '{',
    '[]',
    '{"version":2,"current":null,"contexts":[]}',
    '{"version":1,"contexts":[{}]}',
  ]) {
    it(`with the content ${JSON.stringify(content)} are damaged`, async () => {
      await using at = await place()
      const path = join(at.path, 'contexts.json')
      await writeFile(path, content, { mode: 0o600 })
      assert.throws(() => keptContexts(at.path).load(), {
        code: 'data-format',
        message: `${path} is damaged; remove it, and log in again (osp login)`,
      })
    })
  }
})
