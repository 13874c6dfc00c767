import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { memory } from 'ospd/memory'
import { commandEvents } from '../../bin/common/events.ts'
import { type Outcome, type Place, place, run, start, withBytes } from '../support/commands.ts'
import { published } from '../support/published.ts'
import { served } from '../support/served.ts'
import { spec } from '../support/spec.ts'

interface Bench {
  readonly at: Place
  readonly address: string
  send(...args: readonly string[]): Promise<Outcome>
}

/** Defines a test with a folder to send from and a server to send to, as alice. */
function withServer(prove: (bench: Bench) => Promise<void>): () => Promise<void> {
  return async () => {
    await using at = await place()
    await using its = await served()
    const send = (...args: readonly string[]) =>
      run('osp', ['send', '--server', its.address, '--user', 'alice', ...args], { cwd: at.path })
    await prove({ at, address: its.address, send })
  }
}

function check(program: string, sums: string, cwd: string): string {
  const { stdout, stderr, status } = spawnSync(program, ['-c'], { input: sums, cwd, encoding: 'utf8' })
  assert.equal(status, 0, stdout + stderr)
  return stdout
}

const checked = ({ stdout }: Outcome) => published(stdout, commandEvents.send)

spec('osp send', (it) => {
  it(
    'prints lines that sha256sum -c takes',
    withServer(async ({ at, send }) => {
      const names = ['a b.bin', '电影📷.mp4', 'sub/c.txt', 'empty']
      const contents = [randomBytes(3_000_000), randomBytes(70_000), 'hello', '']
      for (const [index, name] of names.entries()) await at.write(name, contents[index] ?? '')
      const { code, stdout, stderr } = await send(...names)
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
      assert.deepEqual(
        check('sha256sum', stdout, at.path).split('\n').sort(),
        ['', ...names.map((name) => `${name}: OK`)].sort(),
      )
    }),
  )

  it(
    'escapes a path as sha256sum does',
    withServer(async ({ at, send }) => {
      const name = await at.write('back\\slash\nnewline', 'x')
      const { stdout } = await send(name, '--as', 'plain')
      assert.equal(stdout, `\\${createHash('sha256').update('x').digest('hex')}  back\\\\slash\\nnewline\n`)
      check('sha256sum', stdout, at.path)
    }),
  )

  it(
    'verifies by another digest when told to',
    withServer(async ({ at, send }) => {
      await at.write('a', 'hello')
      check('md5sum', (await send('a', '--digest', 'md5')).stdout, at.path)
      assert.match((await send('a', '--as', 'b', '--digest', 'xxh128')).stdout, /^[\da-f]{32} {2}a\n$/u)
    }),
  )

  it(
    'tells in JSON what it has stored',
    withServer(async ({ at, send }) => {
      await at.write('a.bin', randomBytes(300_000))
      const [online, stored, summary, ...more] = checked(await send('a.bin', '--json'))
      assert.equal(online?.event, 'online')
      const { task, file, name, size, transferred, digest } = stored ?? {}
      assert.deepEqual(
        { task, file, name, size, transferred },
        { task: 1, file: 'a.bin', name: 'a.bin', size: 300_000, transferred: 300_000 },
      )
      check('sha256sum', `${digest}  a.bin\n`, at.path)
      assert.deepEqual(
        { ...summary, seconds: 0 },
        {
          v: 1,
          event: 'summary',
          stored: 1,
          replaced: 0,
          renamed: 0,
          failed: 0,
          unfinished: 0,
          size: 300_000,
          transferred: 300_000,
          seconds: 0,
          exitCode: 0,
        },
      )
      assert.equal(more.length, 0)
    }),
  )

  it(
    'says which file replaced another one on the server',
    withServer(async ({ at, send }) => {
      const [a, b] = [await at.write('a/x', 'one'), await at.write('b/x', 'two!'.repeat(10_000))]
      assert.equal((await send(a)).stderr, '')
      const { code, stderr } = await send(b)
      assert.deepEqual({ code, stderr }, { code: 0, stderr: 'osp: b/x: replaced the file x on the server\n' })
      // It is too long for one request, whose bytes would be sent again.
      assert.equal((await send(b)).stderr, '')
      const told = checked(await send(a, '--json'))
      const [stored, summary] = told.filter(({ event }) => event === 'stored' || event === 'summary')
      assert.deepEqual([stored?.replaced, summary?.replaced, summary?.renamed], [true, 1, 0])
      assert.equal((await send(b, '--quiet')).stderr, '')
    }),
  )

  it('reports the name under which the server stored a file whose name was in use', async () => {
    await using at = await place()
    await using its = await served({ onConflict: 'rename' })
    const send = (...args: readonly string[]) =>
      run('osp', ['send', '--server', its.address, '--user', 'alice', ...args], { cwd: at.path })
    for (const [name, content] of [
      ['a/x.txt', 'one'],
      ['b/x.txt', 'two!'],
      ['c/x.txt', 'three'],
    ] as const)
      await at.write(name, content)
    await send('a/x.txt')
    const { code, stderr } = await send('b/x.txt')
    const text = 'osp: b/x.txt: the server stored it as x (1).txt\n'
    assert.deepEqual({ code, stderr }, { code: 0, stderr: text })
    const told = checked(await send('c/x.txt', '--json'))
    const [stored, summary] = told.filter(({ event }) => event === 'stored' || event === 'summary')
    assert.deepEqual(
      [stored?.name, stored?.storedName, stored?.replaced, summary?.replaced, summary?.renamed],
      ['x.txt', 'x (2).txt', false, 0, 1],
    )
  })

  it(
    'lets a file that cannot be read fail by itself',
    withServer(async ({ at, send }) => {
      await at.write('good', 'x')
      await at.write('also good', 'y')
      mkdirSync(join(at.path, 'folder'))
      const outcome = await send('good', 'missing', 'folder', 'also good')
      assert.equal(outcome.code, 1)
      assert.deepEqual(
        outcome.stdout
          .replace(/^\w+ {2}/gmu, '')
          .split('\n')
          .sort(),
        ['', 'also good', 'good'],
      )
      assert.match(outcome.stderr, /^osp: missing: it does not exist; check the path$/mu)
      assert.match(outcome.stderr, /^osp: folder: it is a folder; add -r to send its contents$/mu)
      assert.match(outcome.stderr, /^osp: 2 of 4 files failed$/mu)
      const failed = checked(await send('missing', '--json')).find(({ event }) => event === 'failed')
      assert.deepEqual({ code: failed?.code, task: failed?.task }, { code: 'source-missing', task: null })
    }),
  )

  it(
    'lets a name that the server does not take fail by itself',
    withServer(async ({ at, send }) => {
      await at.write('good', 'x')
      await at.write('a:b', 'x')
      const { code, stdout, stderr } = await send('a:b', 'good')
      assert.equal(code, 1)
      assert.match(stdout, /^\w+ {2}good\n$/u)
      assert.match(stderr, /^osp: a:b: the file name "a:b" is not allowed/mu)
    }),
  )

  it(
    'sends what is in folders when told to, and nothing that links lead to elsewhere',
    withServer(async ({ at, send }) => {
      for (const name of ['photos/a.jpg', 'photos/2024/b.jpg', 'photos/2024/月/c.jpg', 'other/d'])
        await at.write(name, name)
      symlinkSync('../other', join(at.path, 'photos/linked folder'))
      symlinkSync('../other/d', join(at.path, 'photos/linked file'))
      spawnSync('mkfifo', [join(at.path, 'photos/pipe')])
      const outcome = await send('-r', './photos/', '--json')
      const all = checked(outcome)
      const stored = all.filter(({ event }) => event === 'stored').map(({ file, name }) => `${file} as ${name}`)
      assert.deepEqual(stored.sort(), [
        './photos/2024/b.jpg as photos/2024/b.jpg',
        './photos/2024/月/c.jpg as photos/2024/月/c.jpg',
        './photos/a.jpg as photos/a.jpg',
        './photos/linked file as photos/linked file',
      ])
      const skipped = all.filter(({ event }) => event === 'skipped').map(({ file }) => file)
      assert.deepEqual(skipped, ['./photos/linked folder', './photos/pipe'])
      assert.equal(outcome.code, 0)
    }),
  )

  it(
    'goes on when nobody reads its results any more, and says so',
    withServer(async ({ at, address }) => {
      await at.write('a', 'x')
      await using client = start('osp', ['send', '--files-from', '-', '--server', address], { cwd: at.path })
      client.child.stdout?.destroy()
      client.child.stdin?.end('a\n')
      assert.equal((await client.ended).code, 1)
      assert.match(client.stderr, /not all results could be printed/u)
    }),
  )

  it(
    'gives one file another name when told to',
    withServer(async ({ at, send }) => {
      await at.write('a', 'x')
      const [, stored] = checked(await send('a', '--as', 'deep/er/b', '--json'))
      assert.deepEqual({ file: stored?.file, name: stored?.storedName }, { file: 'a', name: 'deep/er/b' })
    }),
  )

  it(
    'names folders that it may not look into',
    withServer(async ({ at, send }) => {
      if (process.getuid?.() === 0) return
      await at.write('folder/a', 'x')
      chmodSync(join(at.path, 'folder'), 0)
      const { code, stderr } = await send('-r', 'folder')
      assert.equal(code, 1)
      assert.match(stderr, /folder: permission denied/u)
    }),
  )
})

spec('osp send is used wrongly', (it) => {
  const usage = async (args: readonly string[], message: RegExp) => {
    const { code, stdout, stderr } = await run('osp', ['send', ...args])
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    assert.match(stderr, message)
  }

  it('with stdin but no name for it', () => usage(['-'], /specify a name on the server .* with --as/u))

  it('with two files of the same name', () =>
    usage(['a/x.bin', 'b', 'c/x.bin'], /^osp: a\/x\.bin and c\/x\.bin would both be "x\.bin" on the server/mu))

  it('with the same file twice', () => usage(['x', '', './x'], /^osp: \.\/x is specified twice; specify it once$/mu))

  it('with an empty path', async () => {
    await using at = await place()
    const { code, stderr } = await run('osp', ['send', '', '--state', at.path])
    assert.deepEqual([code, stderr], [1, 'osp: "": it does not exist; check the path\n'])
  })

  it('with one new name for two files', () => usage(['a', 'b', '--as', 'c'], /--as requires exactly one FILE/u))

  for (const flags of [['--to', 'bob'], ['--meta', 'a=b'], ['--wait', 'handled'], ['-r'], ['--digest', 'md5']]) {
    it(`with ${flags.join(' ')} and without FILE`, () => usage(flags, /^osp: --\w+ requires a FILE; specify one$/mu))
  }

  it('but not with a variable that applies to a FILE, and without FILE', async () => {
    await using at = await place()
    const env = { OSP_TO: 'bob', OSP_META: 'a=b', OSP_WAIT: 'handled', OSP_AS: 'x' }
    const { code, stderr } = await run('osp', ['send', '--state', at.path], { env })
    assert.deepEqual([code, stderr], [0, 'osp: there is nothing to send\n'])
  })

  it('with an invalid name', () => usage(['a', '--as', '../c'], /the file name "\.\.\/c" is not allowed/u))

  it('as an invalid user', () => usage(['a', '--user', 'a/b'], /--user: the user name "a\/b" is not allowed/u))

  it('to an invalid address', () =>
    usage(
      ['a', '--server', 'host:port'],
      /--server cannot be "host:port": the port port is not a number; it takes HOST:PORT/u,
    ))

  it('with a list that does not exist', () =>
    usage(
      ['--files-from', '/nowhere/list'],
      /--files-from \/nowhere\/list cannot be read: it does not exist; check the path$/mu,
    ))
})

spec('osp send of names that are not UTF-8', (it) => {
  if (process.platform !== 'linux') return it.skip('sends no other file', 'names are Unicode on this system')

  interface Named {
    readonly at: Place
    /** Runs `osp send` with one more argument of these bytes, in the syntax of `printf`. */
    send(
      bytes: string,
      args: readonly string[],
      options?: { input?: Uint8Array; first?: string; piped?: string },
    ): Promise<Outcome>
    stored(name: string): string | undefined
  }

  /** Creates a folder with such a file, such a folder, and a file with U+FFFD in its name. */
  const withNames = (prove: (named: Named) => Promise<void>) => async () => {
    await using at = await place()
    const storage = memory()
    await using its = await served({ storage })
    const below = (...bytes: readonly number[]) => Buffer.concat([Buffer.from(`${at.path}/`), Buffer.of(...bytes)])
    writeFileSync(below(0x61, 0xe9), 'mine')
    writeFileSync(join(at.path, 'a\uFFFD'), 'another')
    mkdirSync(below(0x64, 0xff))
    writeFileSync(below(0x64, 0xff, 0x2f, 0x66), 'in a folder')
    await prove({
      at,
      send: (bytes, args, { input, ...around } = {}) =>
        run('osp', ['send', '--server', its.address, '--user', 'alice', ...args], {
          cwd: at.path,
          under: withBytes(bytes, around),
          ...(input && { input }),
        }),
      stored: (name) => {
        const bytes = storage.read('alice', name)
        return bytes && Buffer.from(bytes).toString()
      },
    })
  }

  it(
    'says what is wrong with the name, and sends no other file',
    withNames(async ({ at, send, stored }) => {
      const text = 'its name is not UTF-8, which the server requires'
      const { code, stdout, stderr } = await send('a\\351', [])
      assert.deepEqual({ code, stdout }, { code: 1, stdout: '' })
      assert.equal(stderr, `osp: a\\xe9: ${text}; specify another name with --as NAME\n`)
      assert.equal(stored('a\uFFFD'), undefined)
      const whole = await send(at.path, ['-r'])
      assert.equal(whole.code, 1)
      assert.ok(whole.stderr.includes(`/a\\xe9: ${text}; rename it, or send it by itself with --as NAME\n`))
      assert.ok(whole.stderr.includes(`/d\\xff: ${text}; nothing in it is sent; rename it\n`))
      assert.match(whole.stderr, /^osp: 2 of 3 files failed$/mu)
    }),
  )

  it(
    'sends the file itself under another name, and prints its path as sha256sum does',
    withNames(async ({ send, stored }) => {
      const { code, stdout, stderr } = await send('a\\351', ['--as', 'a'], { piped: '| sha256sum -c --status' })
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: '' })
      assert.equal(stored('a'), 'mine')
      const [line] = checked(await send('a\\351', ['--as', 'a', '--json'])).filter(({ event }) => event === 'stored')
      assert.equal(line?.file, 'a\uDCE9')
    }),
  )

  it(
    'sends what lies below such a folder, and is told so by paths, lists and the working directory',
    withNames(async ({ send, stored }) => {
      assert.equal((await send('d\\377/f', [])).code, 0)
      assert.equal(stored('f'), 'in a folder')
      await send('d\\377', ['-r', '--as', 'folder'])
      assert.equal(stored('folder/f'), 'in a folder')
      const list = Buffer.concat([
        Buffer.from('d\xff/f\r\n', 'latin1'),
        Buffer.from('a\uFFFD\n'),
        Buffer.from('a\xe9', 'latin1'),
      ])
      const { code, stderr } = await send('-', ['--files-from'], { input: list })
      assert.equal(code, 1)
      assert.match(stderr, /^osp: a\\xe9: its name is not UTF-8/mu)
      assert.equal(stored('a\uFFFD'), 'another')
      assert.equal((await send('f', ['--as', 'within'], { first: 'cd d*' })).code, 0)
      assert.equal(stored('within'), 'in a folder')
    }),
  )
})
