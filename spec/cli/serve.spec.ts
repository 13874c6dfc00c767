import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandEvents } from '../../bin/common/events.ts'
import { daemon, events, place, run, start } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

spec('ospd serve', (it) => {
  it('prints its address on stdout only', async () => {
    await using at = await place()
    await using running = start('ospd', ['serve', '--port', '0', '--data', './d'], { cwd: at.path })
    await running.printed(/\n/u)
    assert.match(running.stdout, /^ospd ready on 127\.0\.0\.1:[1-9]\d*, data in \.\/d\n$/u)
    assert.equal(running.stderr, '')
  })

  it('prints its address as JSON with --json, and still logs on stderr', async () => {
    await using at = await place()
    await using running = start('ospd', ['serve', '--port=0', '--data', at.path, '--json'])
    await running.printed(/\n/u)
    const [{ v, event, ...ready } = {}] = events(running.stdout)
    assert.deepEqual({ v, event }, { v: 1, event: 'ready' })
    assert.deepEqual(commandEvents.serve.ready.parse(ready), { host: '127.0.0.1', port: ready.port, data: at.path })
    await running.kill('SIGTERM')
    assert.match(running.stderr, /^\d{4}-\d\d-\d\dT[\d:.]+Z info {2}stopping signal=SIGTERM$/mu)
    assert.equal(events(running.stdout).length, 1)
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`shuts down cleanly at ${signal}`, async () => {
      await using at = await place()
      await using running = await daemon(at.path)
      running.child.kill(signal)
      assert.deepEqual(await running.ended, { code: 0, signal: null })
      assert.ok(!existsSync(join(at.path, 'daemon.json')))
    })
  }

  it('rejects a directory that another daemon uses, and names that daemon', async () => {
    await using at = await place()
    await using first = await daemon(at.path)
    const second = await run('ospd', ['serve', '--port', '0', '--data', at.path])
    assert.equal(second.code, 1)
    assert.equal(second.stdout, '')
    assert.match(second.stderr, new RegExp(`in use by process ${first.child.pid}\\b`, 'u'))
  })

  it('reports a port that is in use', async () => {
    await using at = await place()
    await using first = await daemon(join(at.path, 'a'))
    const second = await run('ospd', ['serve', '--port', `${first.port}`, '--data', join(at.path, 'b')])
    assert.equal(second.code, 1)
    assert.match(
      second.stderr,
      new RegExp(`^ospd: cannot listen on ${first.server}: another program already listens`, 'u'),
    )
  })

  it('stores a file as a regular file, and logs it', async () => {
    await using at = await place()
    await using running = await daemon(join(at.path, 'data'))
    await at.write('文 1.txt', 'hello')
    const send = ['send', '文 1.txt', '--server', running.server, '--user', 'alice']
    assert.equal((await run('osp', send, { cwd: at.path })).code, 0)
    assert.equal(readFileSync(join(at.path, 'data/files/alice/文 1.txt'), 'utf8'), 'hello')
    await running.printed(
      /^\S+ info {2}upload-stored user=alice node=\d+ from=127\.0\.0\.1 name="文 1\.txt" .*size=5 algorithm=sha256 digest=2cf24dba/mu,
    )
  })

  it('does not log it with --quiet', async () => {
    await using at = await place()
    await using running = await daemon(join(at.path, 'data'), ['--quiet'])
    await at.write('a.txt', 'hello')
    await run('osp', ['send', 'a.txt', '--server', running.server], { cwd: at.path })
    await running.kill('SIGTERM')
    assert.equal(running.stderr, '')
  })

  it('rejects a file larger than --max-file-size, and states the maximum', async () => {
    await using at = await place()
    await using running = await daemon(join(at.path, 'data'), ['--max-file-size', '1k', '--quota', '6k'])
    await at.write('a', 'x'.repeat(1_024))
    await at.write('b', 'x'.repeat(1_025))
    const send = (name: string) =>
      run('osp', ['send', name, '--server', running.server, '--user', 'alice'], { cwd: at.path })
    assert.equal((await send('a')).code, 0)
    const { code, stderr } = await send('b')
    assert.equal(code, 1)
    assert.match(stderr, /this server accepts files of at most 1024 bytes/u)
  })

  it('does not start with an invalid --upload-age, and names the flag', async () => {
    await using at = await place()
    const { code, stderr } = await run('ospd', ['serve', '--upload-age', '0', '--data', at.path])
    assert.equal(code, 2)
    assert.match(stderr, /--upload-age cannot be "0": it takes a duration of at least 1s/u)
  })

  it('handles a second file of the same name by --on-conflict', async () => {
    await using at = await place()
    await using running = await daemon(join(at.path, 'data'), ['--on-conflict', 'rename'])
    const send = ['send', 'a.txt', '--server', running.server, '--user', 'alice', '--json']
    await at.write('a.txt', 'one')
    await run('osp', send, { cwd: at.path })
    await at.write('a.txt', 'three')
    const { stdout } = await run('osp', send, { cwd: at.path })
    const stored = events(stdout).find(({ event }) => event === 'stored')
    assert.notEqual(stored?.storedName, 'a.txt')
    assert.equal(readFileSync(join(at.path, 'data/files/alice', `${stored?.storedName}`), 'utf8'), 'three')
  })
})
