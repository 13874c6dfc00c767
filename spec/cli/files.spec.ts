import assert from 'node:assert/strict'
import { commandEvents } from '../../bin/common/events.ts'
import { type Outcome, place, run } from '../support/commands.ts'
import { published } from '../support/published.ts'
import { served } from '../support/served.ts'
import { spec } from '../support/spec.ts'
import { storeFiles } from '../support/storeFiles.ts'

/** Runs `osp` as a user of a server, to which it has sent these files. */
async function bench(...names: readonly string[]) {
  const its = await served()
  const osp = (...[name = '', ...args]: readonly string[]): Promise<Outcome> =>
    run('osp', [name, '--server', its.address, '--user', 'alice', ...args])
  await storeFiles(its.port, Object.fromEntries(names.map((name) => [name, `content of ${name}`])))
  return {
    osp,
    address: its.address,
    listed: async () => (await osp('ls')).stdout.split('\n').filter(Boolean),
    [Symbol.asyncDispose]: () => its[Symbol.asyncDispose](),
  }
}

spec('osp ls', (it) => {
  it('prints the names of the files, or of those that begin with a prefix, in order', async () => {
    await using at = await bench('b/2', 'b/1', 'a', 'bc')
    assert.deepEqual(await at.osp('ls'), { code: 0, stdout: 'a\nb/1\nb/2\nbc\n', stderr: '' })
    assert.equal((await at.osp('ls', 'b/')).stdout, 'b/1\nb/2\n')
    assert.equal((await at.osp('ls', 'b')).stdout, 'b/1\nb/2\nbc\n')
    assert.match((await at.osp('ls', '-l', 'a')).stdout, /^ {5}12 B {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}a\n$/u)
  })

  it('prints all properties as JSON', async () => {
    await using at = await bench('a')
    const [online, file, ...more] = published((await at.osp('ls', '--json')).stdout, commandEvents.ls)
    assert.equal(online?.event, 'online')
    const { name, size, algorithm, metadata } = file ?? {}
    assert.deepEqual({ name, size, algorithm, metadata }, { name: 'a', size: 12, algorithm: 'sha256', metadata: {} })
    assert.equal(more.length, 0)
  })

  it('takes one prefix', async () => {
    const { code, stderr } = await run('osp', ['ls', 'a', 'b'])
    assert.equal(code, 2)
    assert.match(stderr, /^osp: ls takes no operand b$/mu)
  })
})

spec('osp send --meta', (it) => {
  it('stores texts with each file, which osp ls prints as JSON', async () => {
    await using at = await bench()
    await using files = await place()
    await files.write('a', 'content')
    const path = `${files.path}/a`
    const metadataOf = async () => {
      const [, file] = published((await at.osp('ls', '--json')).stdout, commandEvents.ls)
      return file?.metadata
    }
    const send = (...flags: readonly string[]) => at.osp('send', ...flags, '--state', files.path, path)
    assert.equal((await send('--meta', 'contentType=text/plain', '--meta', 'key=a=b')).code, 0)
    assert.deepEqual(await metadataOf(), { contentType: 'text/plain', key: 'a=b' })
    assert.equal((await send()).code, 0)
    assert.deepEqual(await metadataOf(), { contentType: 'text/plain', key: 'a=b' })
    assert.equal((await send('--meta', 'key=new')).code, 0)
    assert.deepEqual(await metadataOf(), { key: 'new' })
    const most = `key=${'x'.repeat(4_093)}`
    assert.equal((await send('--meta', most)).code, 0)
    const keys = Array.from({ length: 33 }, (_, at) => ['--meta', `${at}=`])
    assert.equal((await send(...keys.slice(1).flat())).code, 0)
    const wrong: readonly (readonly [flags: readonly string[], text: string])[] = [
      [['--meta', `${most}x`], '--meta is too large: a file has at most 4096 bytes of metadata, not 4097'],
      [keys.flat(), '--meta is too large: a file has at most 32 keys of metadata, not 33'],
      [['--meta', 'a=1', '--meta', 'b=1', '--meta', 'a=1'], '--meta specifies the key a twice; specify it once'],
    ]
    for (const [flags, text] of wrong) {
      for (const command of ['send', 'add']) {
        const { code, stderr } = await at.osp(command, ...flags, '--state', files.path, path)
        assert.deepEqual([code, stderr], [2, `osp: ${text}\nrun "osp ${command} --help" for its usage\n`])
      }
    }
  })

  it('is kept with a task that another program sends', async () => {
    await using at = await bench()
    await using files = await place()
    await files.write('a', 'content')
    const path = `${files.path}/a`
    const state = ['--state', files.path]
    const { address } = at
    const added = await run('osp', [
      'add',
      '--server',
      address,
      '--user',
      'alice',
      '--meta',
      'key=value',
      ...state,
      path,
    ])
    assert.equal(added.code, 0, added.stderr)
    assert.equal((await at.osp('send', ...state)).code, 0)
    const [, file] = published((await at.osp('ls', '--json')).stdout, commandEvents.ls)
    assert.deepEqual(file?.metadata, { key: 'value' })
  })
})

spec('osp rm', (it) => {
  it('removes files, and with -r folders, and reports those that do not exist', async () => {
    await using at = await bench('a', 'b', 'f/1', 'f/g/2', 'fg')
    assert.deepEqual(await at.osp('rm', 'a'), { code: 0, stdout: '', stderr: '' })
    const { code, stderr } = await at.osp('rm', 'x', 'f', 'b')
    assert.equal(code, 1)
    const lines = [
      'osp: x: the server has no file with this name',
      'osp: f: it is a folder; add -r to remove its contents',
    ]
    assert.equal(stderr, `${lines.join('\n')}\n`)
    assert.deepEqual(await at.listed(), ['f/1', 'f/g/2', 'fg'])
    const removed = published((await at.osp('rm', '-r', 'f/', '--json')).stdout, commandEvents.rm)
    assert.deepEqual(
      removed.map(({ event, name }) => [event, name]),
      [
        ['online', undefined],
        ['removed', 'f/1'],
        ['removed', 'f/g/2'],
      ],
    )
    assert.deepEqual(await at.listed(), ['fg'])
  })

  it('names in JSON the file that failed without a connection', async () => {
    const args = ['--server', '127.0.0.1:1', '--user', 'alice', '--retry-for', '1ms', '--json']
    const { code, stdout } = await run('osp', ['rm', 'a', 'b', ...args])
    const failed = published(stdout, commandEvents.rm).filter(({ event }) => event === 'failed')
    assert.deepEqual([code, failed.map(({ name, code }) => [name, code])], [3, [['a', 'unreachable']]])
  })

  it('takes names', async () => {
    assert.match((await run('osp', ['rm'])).stderr, /^osp: rm requires at least one NAME$/mu)
    assert.match((await run('osp', ['rm', '/a'])).stderr, /^osp: \/a: the file name "\/a" is not allowed/mu)
  })
})

spec('osp mv', (it) => {
  it('renames a file, also into a folder, and replaces another one only if told to', async () => {
    await using at = await bench('a', 'b', 'c')
    assert.deepEqual(await at.osp('mv', 'a', 'f/'), { code: 0, stdout: '', stderr: '' })
    assert.deepEqual(await at.listed(), ['b', 'c', 'f/a'])
    const refused = await at.osp('mv', 'b', 'f/a')
    const exists = 'osp: f/a: it already exists on the server; add --replace to replace it\n'
    assert.deepEqual(refused, { code: 1, stdout: '', stderr: exists })
    const [, renamed] = published((await at.osp('mv', 'b', 'f/a', '--replace', '--json')).stdout, commandEvents.mv)
    assert.deepEqual(renamed, { v: 1, event: 'renamed', name: 'b', newName: 'f/a', replaced: true })
    assert.equal((await at.osp('get', 'f/a', '-')).stdout, 'content of b')
    assert.equal((await at.osp('mv', 'x', 'y')).stderr, 'osp: x: the server has no file with this name\n')
    const folder = await at.osp('mv', 'f', 'g')
    assert.deepEqual(folder, { code: 1, stdout: '', stderr: 'osp: f: it is a folder; only files can be renamed\n' })
    assert.match((await at.osp('mv', 'c', 'f')).stderr, /^osp: c cannot be renamed to f: .*collides with/u)
  })

  it('requires two names', async () => {
    for (const names of [[], ['a'], ['a', 'b', 'c']]) assert.equal((await run('osp', ['mv', ...names])).code, 2)
  })
})
