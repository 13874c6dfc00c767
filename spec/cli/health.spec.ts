import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { daemon, place, run, start } from '../support/commands.ts'
import { healthOf } from '../support/health.ts'
import { spec } from '../support/spec.ts'

const health = ['--health', '127.0.0.1:0']
const draining = { ready: false, reasons: { draining: 'the daemon is shutting down' } }

spec('ospd serve --health', (it) => {
  it('logs its port, and answers /live and /ready once the daemon is ready', async () => {
    await using at = await place()
    await using running = await daemon(at.path, health)
    const get = await healthOf(running)
    assert.deepEqual(await get('/live'), { status: 200, body: { live: true } })
    assert.deepEqual(await get('/ready'), { status: 200, body: { ready: true } })
    assert.equal((await get('/')).status, 404)
  })

  it('is not ready after SIGTERM, while clients can still connect until a second signal', async () => {
    await using at = await place()
    await using running = await daemon(at.path, [...health, '--drain', '1h'])
    const get = await healthOf(running)
    await using listening = start('osp', ['listen', '--server', running.server, '--user', 'alice'])
    await running.printed(/ info {2}link-open user=alice /u)
    running.child.kill('SIGTERM')
    await running.printed(/ info {2}stopping signal=SIGTERM\n.* info {2}draining drainMs=3600000$/mu)
    assert.deepEqual(await get('/ready'), { status: 503, body: draining })
    assert.deepEqual(await get('/live'), { status: 200, body: { live: true } })
    assert.equal((await run('osp', ['who', '--server', running.server, '--user', 'bob'])).code, 0)
    assert.ok(!running.stderr.includes('link-closed user=alice'))
    running.child.kill('SIGTERM')
    assert.deepEqual(await running.ended, { code: 0, signal: null })
    assert.match(
      running.stderr,
      / info {2}link-closed user=alice .*code=shutting-down text="the server is shutting down/u,
    )
    assert.equal(running.stderr.match(/stopping signal/gu)?.length, 1)
    await listening.kill()
  })

  it('stops after the drain time', async () => {
    await using at = await place()
    await using running = await daemon(at.path, [...health, '--drain', '1ms'])
    running.child.kill('SIGINT')
    assert.deepEqual(await running.ended, { code: 0, signal: null })
    assert.match(running.stderr, / info {2}draining drainMs=1\n.* info {2}stopped\n$/u)
  })

  it('drains for 5 s by default, and not at all without a health port or with --drain 0', async () => {
    await using at = await place()
    await using running = await daemon(at.path, health)
    running.child.kill('SIGTERM')
    await running.printed(/ info {2}draining drainMs=5000$/mu)
    await running.kill()
    for (const flags of [[], [...health, '--drain', '0']]) {
      await using plain = await daemon(at.path, flags)
      await plain.kill('SIGTERM')
      assert.match(plain.stderr, / info {2}stopping signal=SIGTERM\n.* info {2}stopped\n$/u)
    }
  })

  it('drains without a health port if --drain is set', async () => {
    await using at = await place()
    await using running = await daemon(at.path, ['--drain', '1h'])
    running.child.kill('SIGTERM')
    await running.printed(/ info {2}draining drainMs=3600000$/mu)
    connect(running.port, '127.0.0.1')
      .on('error', () => {})
      .destroy()
    running.child.kill('SIGINT')
    assert.deepEqual(await running.ended, { code: 0, signal: null })
  })

  it('closes with the daemon, even if the daemon cannot start', async () => {
    await using at = await place()
    await using running = await daemon(at.path, health)
    const second = await run('ospd', ['serve', '--port', '0', '--data', at.path, ...health])
    assert.equal(second.code, 1)
    assert.match(second.stderr, /health-listening .*\n.*in use by process/u)
    await running.kill('SIGTERM')
  })

  it('reports a port that is in use', async () => {
    await using at = await place()
    await using first = await daemon(at.path)
    const flags = ['--port', '0', '--data', `${at.path}/b`, '--health', first.server]
    const { code, stderr } = await run('ospd', ['serve', ...flags])
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`^ospd: cannot listen on ${first.server}: another program already listens`, 'u'))
  })

  it('takes an address with a port', async () => {
    for (const value of ['127.0.0.1', '127.0.0.1:', ':6683', '127.0.0.1:65536', '::1:6683', 'http://127.0.0.1:6683']) {
      const { code, stderr } = await run('ospd', ['serve', '--health', value])
      assert.equal(code, 2)
      assert.match(stderr, /^ospd: --health cannot be .* it takes HOST:PORT, with an IPv6 address in brackets; port 0/u)
    }
  })
})
