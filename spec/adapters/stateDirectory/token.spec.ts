import assert from 'node:assert/strict'
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkToken, keptToken, readToken } from '../../../lib/adapters/stateDirectory/token.ts'
import { place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

/** The path of a state directory that does not exist yet. */
async function fresh() {
  const at = await place()
  const directory = join(at.path, 'state', '127.0.0.1_6682', 'alice')
  return {
    directory,
    path: join(directory, 'token'),
    kept: keptToken(directory),
    [Symbol.asyncDispose]: () => at[Symbol.asyncDispose](),
  }
}

const rightsOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

spec('a stored token', (it) => {
  it('is available to later programs until it is removed', async () => {
    await using at = await fresh()
    assert.equal(await at.kept.load(), undefined)
    await at.kept.keep('osp_one')
    assert.equal((await keptToken(at.directory).load())?.token, 'osp_one')
    assert.equal(await at.kept.forget(), true)
    assert.equal(await at.kept.load(), undefined)
    assert.equal(await at.kept.forget(), false)
  })

  it('is in a file and directories that only its owner can access, whatever the umask', async () => {
    await using at = await fresh()
    const umask = process.umask(0)
    try {
      await at.kept.keep('osp_one')
    } finally {
      process.umask(umask)
    }
    assert.equal(await rightsOf(at.path), '600')
    for (const above of ['', '..', '../..']) assert.equal(await rightsOf(join(at.directory, above)), '700')
  })

  it('replaces another one and its permissions, without leaving other files', async () => {
    await using at = await fresh()
    await at.kept.keep('osp_one')
    await chmod(at.path, 0o644)
    await at.kept.keep('osp_two')
    assert.equal((await at.kept.load())?.token, 'osp_two')
    assert.equal(await rightsOf(at.path), '600')
    assert.deepEqual(await readdir(at.directory), ['token'])
  })

  it('is one of those that are stored concurrently', async () => {
    await using at = await fresh()
    const tokens = Array.from({ length: 20 }, (_, number) => `osp_${number}`)
    await Promise.all(tokens.map((token) => keptToken(at.directory).keep(token)))
    assert.ok(tokens.includes((await at.kept.load())?.token ?? ''))
    assert.deepEqual(await readdir(at.directory), ['token'])
  })

  for (const mode of [0o640, 0o604, 0o620]) {
    it(`with the permissions ${mode.toString(8)} is refused, with advice`, async () => {
      await using at = await fresh()
      await at.kept.keep('osp_one')
      await chmod(at.path, mode)
      await assert.rejects(at.kept.load(), (error: Error) => {
        assert.match(error.message, /other users can read the token in .*: run chmod 600/u)
        assert.ok(error.message.includes(at.path))
        return true
      })
      await chmod(at.path, 0o600)
      assert.equal((await at.kept.load())?.token, 'osp_one')
    })
  }

  for (const boundTo of ['authority', 'local', 'open', `SHA256:${'A'.repeat(43)}`] as const) {
    it(`has the connections over which it may be sent: ${boundTo.slice(0, 9)}`, async () => {
      await using at = await fresh()
      await at.kept.keep('osp_one', boundTo)
      assert.deepEqual(await at.kept.load(), { token: 'osp_one', boundTo })
      assert.equal(await readFile(at.path, 'utf8'), `osp_one\n${boundTo}\n`)
    })
  }

  it('of an earlier version has no record of its connection', async () => {
    await using at = await fresh()
    await mkdir(at.directory, { recursive: true })
    await writeFile(at.path, 'osp_one\n', { mode: 0o600 })
    assert.deepEqual(await at.kept.load(), { token: 'osp_one', boundTo: 'unrecorded' })
  })

  it('with a damaged record of its connection is refused', async () => {
    await using at = await fresh()
    for (const record of ['authorit', 'SHA256:A', 'open\nopen', 'unrecorded', ' open']) {
      await at.kept.keep('osp_one')
      await writeFile(at.path, `osp_one\n${record}\n`)
      await assert.rejects(at.kept.load(), { code: 'usage' })
    }
  })

  it('that is invalid is not stored, and the stored one stays', async () => {
    await using at = await fresh()
    await at.kept.keep('osp_one')
    for (const wrong of ['', 'two words', 'two\nlines', 'x'.repeat(1_025)]) {
      await assert.rejects(at.kept.keep(wrong), { code: 'usage' })
    }
    assert.equal((await at.kept.load())?.token, 'osp_one')
  })

  it('is removed together with the temporary files of killed programs', async () => {
    await using at = await fresh()
    await at.kept.keep('osp_one')
    await writeFile(join(at.directory, 'token.0123456789abcdef.new'), 'osp_two', { mode: 0o600 })
    await writeFile(join(at.directory, 'tasks'), '')
    await at.kept.forget()
    assert.deepEqual(await readdir(at.directory), ['tasks'])
  })

  it('that cannot be written is reported with its path, and leaves no temporary file', async () => {
    await using at = await fresh()
    await mkdir(at.path, { recursive: true })
    await assert.rejects(at.kept.keep('osp_one'), (error: Error) => {
      assert.ok(error.message.includes(at.path) && !error.message.includes('osp_one'), error.message)
      return true
    })
    assert.deepEqual(await readdir(at.directory), ['token'])
  })
})

spec('a token file', (it) => {
  it('contains the token, with or without a newline', async () => {
    await using at = await place()
    for (const end of ['', '\n', '\r\n']) {
      await at.write('t', `osp_one${end}`)
      assert.deepEqual(await readToken(join(at.path, 't')), { token: 'osp_one', boundTo: 'unrecorded' })
    }
  })

  const wrong: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
    ['that is empty', '', /is empty/u],
    ['with only a newline', '\n', /is empty/u],
    ['with a space', 'mark ed', /spaces or control characters/u],
    ['with a second line', 'mark\ned\n', /spaces or control characters/u],
    ['with an escape', 'mark\u001B[2J', /spaces or control characters/u],
    ['that is not UTF-8', Buffer.from([0x6d, 0xff]), /spaces or control characters/u],
    ['that is too long', 'mark'.repeat(300), /more than 1024 bytes/u],
  ]
  for (const [what, content, message] of wrong) {
    it(`${what} is refused with its name, and not repeated`, async () => {
      await using at = await place()
      const path = join(at.path, 't')
      await at.write('t', content)
      await assert.rejects(readToken(path), (error: Error) => {
        assert.match(error.message, message)
        assert.ok(error.message.includes(path) && !error.message.includes('mark'), error.message)
        return true
      })
    })
  }

  it('without an end is read only up to the maximum length of a token', async () => {
    await using at = await place()
    const path = join(at.path, 't')
    await symlink('/dev/urandom', path)
    await assert.rejects(readToken(path), { code: 'usage' })
  })

  it('that is missing is named', async () => {
    await assert.rejects(readToken('/nowhere/t'), {
      code: 'usage',
      message: /the token file \/nowhere\/t cannot be read/u,
    })
  })

  it('of a realistic length is accepted', () => {
    assert.equal(checkToken(`${'x'.repeat(1_024)}\n`, 'it').length, 1_024)
  })

  it('is not changed', async () => {
    await using at = await place()
    await at.write('t', 'osp_one\n')
    await readToken(join(at.path, 't'))
    assert.equal(await readFile(join(at.path, 't'), 'utf8'), 'osp_one\n')
  })
})
