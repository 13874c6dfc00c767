import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect, OspError } from 'ospd'
import { tcp } from 'ospd/node'
import { events, feed, place, run, start } from '../support/commands.ts'
import { freePort } from '../support/freePort.ts'
import { served } from '../support/served.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

spec('osp send without a server', (it) => {
  it('waits for it, reports that once, and continues when it is available', async () => {
    await using at = await place()
    await at.write('a', 'x')
    const port = await freePort()
    await using client = start('osp', ['send', 'a', '--server', `127.0.0.1:${port}`], { cwd: at.path })
    await client.printed(
      /^osp: waiting for 127\.0\.0\.1:\d+: nothing listens there.*; next try in \d+ s; giving up after 5:00 \(--retry-for\)$/mu,
    )
    await using _ = await served({ port })
    assert.equal((await client.ended).code, 0)
    assert.match(client.stdout, /^\w{64} {2}a\n$/u)
    assert.equal(client.stderr.match(/waiting for/gu)?.length, 1)
    assert.match(client.stderr, /^osp: connected to 127\.0\.0\.1:\d+$/mu)
  })

  it('gives up after --retry-for, with exit code 3', async () => {
    await using at = await place()
    await at.write('a', 'x')
    await at.write('b', 'x')
    const flags = ['--server', `127.0.0.1:${await freePort()}`, '--retry-for', '300ms']
    const { code, stdout, stderr } = await run('osp', ['send', 'a', 'b', ...flags], { cwd: at.path })
    assert.deepEqual({ code, stdout }, { code: 3, stdout: '' })
    assert.match(stderr, /^osp: gave up on 127\.0\.0\.1:\d+: nothing listens there/mu)
    assert.match(stderr, /^osp: 2 files not sent; run "osp send" to send them when the server can be reached$/mu)
    const json = events((await run('osp', ['send', 'a', '--json', ...flags], { cwd: at.path })).stdout)
    const failed = json.find(({ event }) => event === 'failed')
    assert.deepEqual({ code: failed?.code, retry: failed?.retry }, { code: 'unreachable', retry: 'later' })
    assert.equal(json.at(-1)?.exitCode, 3)
  })
})

spec('osp send that is refused', (it) => {
  it('exits with 4 if its login is rejected', async () => {
    await using at = await place()
    await at.write('a', 'x')
    const authenticate = async () => {
      throw new OspError('unauthorized', 'nobody comes in here')
    }
    await using its = await served({ authenticator: { authenticate, knows: async () => false } })
    const { code, stderr } = await run('osp', ['send', 'a', '--server', its.address], { cwd: at.path })
    assert.equal(code, 4)
    assert.match(stderr, /gave up on 127\.0\.0\.1:\d+: .*nobody comes in here/u)
  })

  it('exits with 5 if a temporary rejection lasts too long', async () => {
    await using at = await place()
    await at.write('a', 'x')
    await using its = await served({ limits: { links: 1, retryAfterMs: 100 } })
    await using _first = await connect(tcp({ port: its.port }), { user: 'alice' })
    const flags = ['--server', its.address, '--retry-for', '300ms']
    const { code, stderr } = await run('osp', ['send', 'a', ...flags], { cwd: at.path })
    assert.equal(code, 5)
    assert.match(stderr, /the server already has 1 links/u)
  })
})

spec('osp send that is interrupted', (it) => {
  it('exits with 130, says what is unfinished, and continues later', async () => {
    await using at = await place()
    await at.write('big', randomBytes(4_000_000))
    await using its = await served()
    const send = ['send', 'big', '--server', its.address, '--user', 'alice']
    await using client = start('osp', [...send, '--limit-rate', '2M'], { cwd: at.path })
    await turns(() => (its.server.status().uploads[0]?.progress ?? 0) > 0)
    client.child.kill('SIGINT')
    assert.equal((await client.ended).code, 130)
    assert.match(
      client.stderr,
      /^osp: interrupted; run "osp send" to continue:\nosp: {3}big: \d+ % is on the server$/mu,
    )
    const [, stored] = events((await run('osp', [...send, '--json'], { cwd: at.path })).stdout)
    assert.equal(stored?.event, 'stored')
    assert.ok(Number(stored?.transferred) < 4_000_000, `${stored?.transferred}`)
  })

  it('exits with 130 also while it waits for a server', async () => {
    await using at = await place()
    await at.write('a', 'x')
    const server = `127.0.0.1:${await freePort()}`
    await using client = start('osp', ['send', 'a', '--server', server], { cwd: at.path })
    await client.printed(/waiting for/u)
    client.child.kill('SIGINT')
    assert.equal((await client.ended).code, 130)
  })
})

spec('osp send --files-from', (it) => {
  it('sends names from stdin as they arrive', async () => {
    await using at = await place()
    for (const name of ['one', 'two', '三']) await at.write(name, name)
    await using its = await served()
    const send = ['send', '--files-from', '-', '--server', its.address]
    await using client = start('osp', send, { cwd: at.path })
    await feed(client, 'one\ntw')
    await client.printed(/ {2}one\n/u)
    await feed(client, 'o\r\n')
    await client.printed(/ {2}two\n/u)
    client.child.stdin?.end('\n三')
    assert.equal((await client.ended).code, 0)
    assert.match(client.stdout, / {2}三\n$/u)
  })

  it('ends at an interrupt although stdin is still open', async () => {
    await using at = await place()
    await at.write('one', 'x')
    await using its = await served()
    await using client = start('osp', ['send', '--files-from', '-', '--server', its.address], { cwd: at.path })
    await feed(client, 'one\n')
    await client.printed(/ {2}one\n/u)
    client.child.kill('SIGINT')
    assert.equal((await client.ended).code, 130)
  })

  it('reads a list from a file, and rejects a repeated name', async () => {
    await using at = await place()
    for (const name of ['a/x', 'b/x', 'y']) await at.write(name, name)
    await at.write('list', 'a/x\nb/x\n\ny\n')
    await using its = await served()
    const outcome = await run('osp', ['send', '--files-from', 'list', '--server', its.address], { cwd: at.path })
    assert.equal(outcome.code, 2)
    assert.deepEqual(
      outcome.stdout
        .replace(/^\w+ {2}/gmu, '')
        .split('\n')
        .sort(),
      ['', 'a/x', 'y'],
    )
    assert.match(outcome.stderr, /^osp: b\/x: it would have the same name on the server as a\/x$/mu)
  })
})
