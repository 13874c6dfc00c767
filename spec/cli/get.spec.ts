import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { daemon, type Outcome, type Place, place, run, start } from '../support/commands.ts'
import type { Running } from '../support/processes.ts'
import { published } from '../support/published.ts'
import { served } from '../support/served.ts'
import { spec } from '../support/spec.ts'
import { storedModifiedAt, storeFiles } from '../support/storeFiles.ts'
import { turn } from '../support/turn.ts'
import { canMount, smallDisk } from '../testing/storage/places.ts'

interface Bench {
  readonly at: Place
  /** Runs `osp` in the folder, as alice. */
  osp(...args: readonly string[]): Promise<Outcome>
  begin(...args: readonly string[]): Running
}

function benchOf(at: Place, server: string): Bench {
  const line = ([name = '', ...args]: readonly string[]) => [name, '--server', server, '--user', 'alice', ...args]
  return {
    at,
    osp: (...args) => run('osp', line(args), { cwd: at.path }),
    begin: (...args) => start('osp', line(args), { cwd: at.path }),
  }
}

/** Defines a test with a folder, and a server that stores what `files` names. */
function withFiles(
  files: Readonly<Record<string, Uint8Array | string>>,
  prove: (bench: Bench) => Promise<void>,
): () => Promise<void> {
  return async () => {
    await using at = await place()
    await using its = await served()
    await storeFiles(its.port, files)
    await prove(benchOf(at, its.address))
  }
}

const content = randomBytes(3_000_000)
const sum = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

/** Resolves when the file has this many bytes. */
async function grown(path: string, bytes: number): Promise<void> {
  while ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) < bytes) await turn()
}

const saved = ({ stdout }: Outcome) => published(stdout, commandEvents.get)

/** The line about files that are not found. */
const hint =
  'osp: to download a file that another user has sent you, use --from USER; "osp inbox" lists waiting messages'

spec('osp get', (it) => {
  it(
    'saves a file, and prints its digest in the format of sha256sum',
    withFiles({ 'a b.bin': content }, async ({ at, osp }) => {
      const { code, stdout, stderr } = await osp('get', 'a b.bin')
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: `${sum(content)}  a b.bin\n`, stderr: '' })
      assert.deepEqual(readFileSync(join(at.path, 'a b.bin')), content)
      assert.equal(statSync(join(at.path, 'a b.bin')).mtimeMs, storedModifiedAt)
    }),
  )

  it(
    'saves a folder, or everything, in a directory, and transfers nothing twice',
    withFiles({ 'f/a': 'one', 'f/g/b': 'two', c: 'three' }, async ({ at, osp }) => {
      assert.equal((await osp('get', '-r', 'f/g', 'c', '--to', 'x/y')).code, 0)
      assert.equal(readFileSync(join(at.path, 'x/y/g/b'), 'utf8'), 'two')
      assert.equal(readFileSync(join(at.path, 'x/y/c'), 'utf8'), 'three')
      assert.equal((await osp('get', '-r', '--to', 'all')).code, 0)
      assert.deepEqual(readdirSync(join(at.path, 'all'), { recursive: true }).sort(), ['c', 'f', 'f/a', 'f/g', 'f/g/b'])
      const again = saved(await osp('get', '-r', '--to', 'all', '--json'))
      assert.deepEqual(
        again.map(({ event, transferred }) => [event, transferred]),
        [
          ['online', undefined],
          ['saved', 0],
          ['saved', 0],
          ['saved', 0],
          ['summary', 0],
        ],
      )
    }),
  )

  it(
    'tells in JSON what it has saved',
    withFiles({ 'f/a': 'one' }, async ({ osp }) => {
      const [online, file, summary] = saved(await osp('get', 'f/a', '--json'))
      assert.equal(online?.event, 'online')
      const { version, ...told } = file ?? {}
      assert.ok(version)
      const { name, algorithm, digest } = { name: 'f/a', algorithm: 'sha256', digest: sum('one') }
      assert.deepEqual(told, { v: 1, event: 'saved', file: 'a', name, size: 3, algorithm, digest, transferred: 3 })
      const counts = { saved: 1, failed: 0, unfinished: 0, size: 3, transferred: 3 }
      assert.deepEqual({ ...summary, seconds: 0 }, { v: 1, event: 'summary', ...counts, seconds: 0, exitCode: 0 })
    }),
  )

  it(
    'writes the content of one file to stdout',
    withFiles({ a: 'one', empty: '' }, async ({ osp }) => {
      assert.deepEqual(await osp('get', 'a', '-'), { code: 0, stdout: 'one', stderr: '' })
      assert.deepEqual(await osp('get', 'empty', '-'), { code: 0, stdout: '', stderr: '' })
      const missing = await osp('get', 'b', '-')
      const stderr = `osp: b: the server has no file with this name\n${hint}\n`
      assert.deepEqual(missing, { code: 1, stdout: '', stderr })
      assert.doesNotMatch((await osp('get', 'b', '--quiet')).stderr, /--from/u)
    }),
  )

  it(
    'lets a file fail by itself, with the reason',
    withFiles({ 'f/a': 'one', c: 'three' }, async ({ at, osp }) => {
      writeFileSync(join(at.path, 'c'), 'mine')
      const { code, stdout, stderr } = await osp('get', 'f/a', 'f', 'c', 'x', 'y')
      assert.equal(code, 1)
      assert.equal(stdout, `${sum('one')}  a\n`)
      assert.deepEqual(stderr.split('\n').sort(), [
        '',
        'osp: 4 of 5 files failed',
        'osp: c: c already exists with other content; add --overwrite to replace it, or specify another --to',
        'osp: f: it is a folder; add -r to get its contents',
        hint,
        'osp: x: the server has no file with this name',
        'osp: y: the server has no file with this name',
      ])
      assert.equal(readFileSync(join(at.path, 'c'), 'utf8'), 'mine')
      assert.equal((await osp('get', 'c', '--overwrite')).code, 0)
      assert.equal(readFileSync(join(at.path, 'c'), 'utf8'), 'three')
    }),
  )

  it(
    'names a file that is in the way of a folder',
    withFiles({ 'f/g/a': 'one' }, async ({ at, osp }) => {
      writeFileSync(join(at.path, 'f'), 'mine')
      const { code, stderr } = await osp('get', '-r', 'f')
      const text = 'osp: f/g/a: the folder f/g cannot be created: f is a file, not a directory\n'
      assert.deepEqual({ code, stderr }, { code: 1, stderr: text })
    }),
  )

  it('agrees with its description of failures in JSON if there is no connection', async () => {
    const args = ['--server', '127.0.0.1:1', '--user', 'alice', '--retry-for', '1ms', '--json']
    for (const [names, file, name] of [
      [[], '.', null],
      [['f/g'], 'g', 'f/g'],
    ] as const) {
      const { code, stdout } = await run('osp', ['get', '-r', ...names, ...args])
      const failed = published(stdout, commandEvents.get).filter(({ event }) => event === 'failed')
      assert.deepEqual([code, failed.map(({ file, name }) => [file, name])], [3, [[file, name]]])
    }
  })

  it('says that its working directory no longer exists', async () => {
    await using at = await place()
    const under = ['sh', '-c', 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', 'sh']
    for (const args of [
      ['get', 'a'],
      ['send', 'a'],
      ['send', '--files-from', '-'],
      ['add', 'a'],
    ]) {
      const { code, stderr } = await run('osp', [...args, '--user', 'alice'], { cwd: at.path, under, input: 'a' })
      const text = 'osp: the working directory no longer exists; change to another one\n'
      assert.deepEqual({ code, stderr }, { code: 1, stderr: text })
    }
  })

  it(
    'never changes a partial file that is not its own',
    withFiles({ a: 'one' }, async ({ at, osp }) => {
      writeFileSync(join(at.path, 'a.part'), 'mine')
      const { code, stderr } = await osp('get', 'a')
      assert.deepEqual({ code }, { code: 1 })
      assert.match(stderr, /a\.part already exists and belongs to another program; rename or remove it\n$/u)
      assert.equal(readFileSync(join(at.path, 'a.part'), 'utf8'), 'mine')
    }),
  )

  it('rejects operands that do not fit together', async () => {
    const wrong: readonly (readonly [args: readonly string[], text: RegExp])[] = [
      [[], /get requires at least one NAME, or -r to download all files/u],
      [['-'], /- requires exactly one NAME, without -r/u],
      [['x/a', 'y/a'], /x\/a and y\/a would both be written to a/u],
      [['../a'], /the file name "\.\.\/a" is not allowed/u],
      [['a', '--to', '/dev/null'], /--to \/dev\/null is a file, not a directory/u],
    ]
    for (const [args, text] of wrong) {
      const { code, stderr } = await run('osp', ['get', ...args])
      assert.equal(code, 2)
      assert.match(stderr, text)
    }
  })
})

spec('osp get on a disk', (it) => {
  it('continues after it and the server were killed, and begins again if the file was replaced', async () => {
    await using at = await place()
    const data = join(at.path, 'data')
    await using first = await daemon(data)
    const { osp, begin } = benchOf(at, first.server)
    await storeFiles(first.port, { a: content })
    const part = join(at.path, 'a.part')
    // At this rate the download would take ten seconds.
    await using killed = begin('get', 'a', '--limit-rate', '300k')
    await grown(part, 100_000)
    await killed.kill('SIGKILL')
    const kept = statSync(part).size
    assert.equal(existsSync(join(at.path, 'a')), false)

    await using slow = begin('get', 'a', '--limit-rate', '2M', '--json')
    await grown(part, kept + 100_000)
    await first.kill('SIGKILL')
    await using _second = await daemon(data, ['--port', `${first.port}`])
    assert.equal((await slow.ended).code, 0, slow.stdout)
    assert.deepEqual(readFileSync(join(at.path, 'a')), content)
    assert.deepEqual(readdirSync(at.path).sort(), ['a', 'data'])
    const file = published(slow.stdout, commandEvents.get).find(({ event }) => event === 'saved')
    assert.ok(Number(file?.transferred) <= content.length - kept)

    await using interrupted = begin('get', 'a', '--to', 'to', '--limit-rate', '300k')
    await grown(join(at.path, 'to/a.part'), 100_000)
    interrupted.child.kill('SIGINT')
    assert.equal((await interrupted.ended).code, 130)
    assert.equal(interrupted.stderr, 'osp: interrupted; run the same command to continue\n')
    await storeFiles(first.port, { a: 'other' })
    assert.equal((await osp('get', 'a', '--to', 'to')).code, 0)
    assert.equal(readFileSync(join(at.path, 'to/a'), 'utf8'), 'other')
    assert.deepEqual(readdirSync(join(at.path, 'to')), ['a'])
  })

  if (!canMount) it.skip('that is full says so', 'this process may not mount a small disk')
  else {
    it(
      'that is full says so',
      withFiles({ a: content }, async ({ osp }) => {
        await using small = await smallDisk(1_000_000)
        const { code, stderr } = await osp('get', 'a', '--to', small.path)
        assert.equal(code, 1)
        const advice = 'the part that has arrived is kept: free space, and download it again'
        assert.equal(stderr, `osp: a: ${join(small.path, 'a')} cannot be written: the disk is full; ${advice}\n`)
        assert.deepEqual(readdirSync(small.path).sort(), ['a.part', 'a.part.json'])
      }),
    )
  }
})
