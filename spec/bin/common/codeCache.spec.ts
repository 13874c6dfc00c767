import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { CodeCache, codeDirectory } from '../../../bin/common/codeCache.ts'
import { place, run } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'

const code = Buffer.from('compiled code')

/** Returns the path of the only file in a directory. */
function onlyFile(directory: string): string {
  const [name = '', ...more] = readdirSync(directory)
  assert.deepEqual(more, [])
  return join(directory, name)
}

spec('the compiled code of a command', (it) => {
  it('is in the cache directory of the operating system', () => {
    const of = (platform: NodeJS.Platform, env: Record<string, string>, home = '/home/a') =>
      codeDirectory({ platform, env, home })
    assert.equal(of('linux', {}), '/home/a/.cache/osp')
    assert.equal(of('linux', { XDG_CACHE_HOME: '/cache' }), '/cache/osp')
    assert.equal(of('linux', { XDG_CACHE_HOME: 'relative' }), '/home/a/.cache/osp')
    assert.equal(of('darwin', {}), '/home/a/Library/Caches/osp')
    assert.equal(of('win32', { LOCALAPPDATA: 'D:\\Local' }, 'C:\\a'), 'D:\\Local\\osp\\code')
    assert.equal(of('linux', {}, ''), '.cache/osp')
  })

  it('is returned for the same source and command only', async () => {
    await using at = await place()
    const directory = join(at.path, 'cache')
    new CodeCache(Buffer.from('source'), 'send', directory).write(code)
    assert.deepEqual(new CodeCache(Buffer.from('source'), 'send', directory).read(), code)
    assert.equal(new CodeCache(Buffer.from('source'), 'msg', directory).read(), undefined)
    assert.equal(new CodeCache(Buffer.from('sourcE'), 'send', directory).read(), undefined)
    assert.equal(statSync(directory).mode & 0o777, 0o700)
    assert.equal(statSync(onlyFile(directory)).mode & 0o777, 0o600)
  })

  it('is not returned if it is damaged', async () => {
    await using at = await place()
    const cache = new CodeCache(Buffer.from('source'), 'send', at.path)
    cache.write(code)
    const path = onlyFile(at.path)
    const content = readFileSync(path)
    for (const damaged of [Buffer.alloc(0), content.subarray(0, 4), content.subarray(0, -1), Buffer.alloc(20)]) {
      writeFileSync(path, damaged)
      assert.equal(cache.read(), undefined)
    }
    cache.write(code)
    assert.deepEqual(cache.read(), code)
  })

  it('is not returned if another user may have written it, or if it is a link', async () => {
    if (process.geteuid === undefined) return
    await using at = await place()
    const directory = join(at.path, 'cache')
    const cache = new CodeCache(Buffer.from('source'), 'send', directory)
    cache.write(code)
    const path = onlyFile(directory)
    for (const [target, wide, narrow] of [
      [path, 0o620, 0o600],
      [path, 0o602, 0o600],
      [directory, 0o720, 0o700],
    ] as const) {
      chmodSync(target, wide)
      assert.equal(cache.read(), undefined)
      chmodSync(target, narrow)
      assert.deepEqual(cache.read(), code)
    }
    renameSync(path, `${path}.moved`)
    symlinkSync(`${path}.moved`, path)
    assert.equal(cache.read(), undefined)
  })

  it('causes no error if it cannot be stored', async () => {
    await using at = await place()
    await at.write('file', 'text')
    const wide = join(at.path, 'wide')
    mkdirSync(wide)
    chmodSync(wide, 0o777)
    for (const directory of [join(at.path, 'file'), wide, 'relative']) {
      const cache = new CodeCache(Buffer.from('source'), 'send', directory)
      cache.write(code)
      assert.equal(cache.read(), undefined)
    }
    assert.deepEqual(readdirSync(wide), process.geteuid === undefined ? readdirSync(wide) : [])
    assert.ok(!existsSync('relative'))
  })

  it('is not stored in the home directory of another user, for example by root under sudo', async () => {
    if (process.geteuid?.() !== 0) return
    await using at = await place()
    const home = join(at.path, 'home')
    mkdirSync(home)
    chownSync(home, 12_345, 12_345)
    new CodeCache(Buffer.from('source'), 'send', join(home, '.cache', 'osp')).write(code)
    assert.deepEqual(readdirSync(home), [])
  })

  it('is removed after 30 days, when other code is stored', async () => {
    await using at = await place()
    new CodeCache(Buffer.from('old'), 'send', at.path).write(code)
    const path = onlyFile(at.path)
    const daysAgo = (days: number) => Date.now() / 1_000 - days * 24 * 3_600
    utimesSync(path, daysAgo(29), daysAgo(29))
    new CodeCache(Buffer.from('new'), 'send', at.path).write(code)
    assert.ok(existsSync(path))
    utimesSync(path, daysAgo(31), daysAgo(31))
    new CodeCache(Buffer.from('new'), 'send', at.path).write(code)
    assert.ok(!existsSync(path))
  })

  it('is limited to 64 MiB: the oldest files are removed, those of other builds first', async () => {
    await using at = await place()
    const large = Buffer.alloc(20 * 1_024 * 1_024)
    const cacheOf = (name: string) => {
      const [build = '', command = ''] = name.split(' ')
      return new CodeCache(Buffer.from(build), command, at.path)
    }
    const steps = [
      ['new send', ['new send']],
      ['old send', ['new send', 'old send']],
      ['old msg', ['new send', 'old send', 'old msg']],
      ['new msg', ['new send', 'old msg', 'new msg']],
      ['new get', ['new send', 'new msg', 'new get']],
      ['new ls', ['new msg', 'new get', 'new ls']],
    ] as const
    for (const [name, left] of steps) {
      for (const file of readdirSync(at.path)) {
        const path = join(at.path, file)
        const earlier = statSync(path).mtimeMs / 1_000 - 60
        utimesSync(path, earlier, earlier)
      }
      cacheOf(name).write(large)
      const stored = steps.map(([name]) => name).filter((name) => cacheOf(name).read())
      assert.deepEqual(stored, left)
    }
  })
})

spec('osp', (it) => {
  const version = async (directory: string, env: NodeJS.ProcessEnv = {}, ...args: readonly string[]) => {
    const { code, stdout, stderr } = await run('osp', ['--version', ...args], {
      env: { XDG_CACHE_HOME: directory, ...env },
    })
    assert.equal(stderr.length > 0, code !== 0)
    return stdout
  }

  it('stores its compiled code after a run that succeeds, and uses it in the next run', async () => {
    await using at = await place()
    await version(at.path, {}, '--unknown')
    assert.deepEqual(readdirSync(at.path), [])
    const printed = await version(at.path)
    const path = onlyFile(join(at.path, 'osp'))
    const { ino } = statSync(path)
    assert.equal(await version(at.path), printed)
    assert.equal(statSync(path).ino, ino)
    writeFileSync(path, readFileSync(path).subarray(0, 10_000))
    assert.equal(await version(at.path), printed)
    assert.notEqual(statSync(path).ino, ino)
  })

  it('replaces code that V8 does not accept', async () => {
    await using at = await place()
    const printed = await version(at.path)
    const path = onlyFile(join(at.path, 'osp'))
    const foreign = new CodeCache(Buffer.from('source'), 'other', join(at.path, 'foreign'))
    foreign.write(Buffer.alloc(10_000))
    writeFileSync(path, readFileSync(onlyFile(join(at.path, 'foreign'))))
    assert.equal(await version(at.path), printed)
    assert.ok(statSync(path).size > 100_000)
  })

  it('stores none if NODE_DISABLE_COMPILE_CACHE is set', async () => {
    await using at = await place()
    await version(at.path, { NODE_DISABLE_COMPILE_CACHE: '1' })
    assert.deepEqual(readdirSync(at.path), [])
  })
})
