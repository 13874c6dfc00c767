import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { type Daemon, daemon, place, run, start } from '../support/commands.ts'
import { idOf, posting } from '../support/messageClient.ts'
import { type Greeting, RawClient } from '../support/rawClient.ts'
import { spec } from '../support/spec.ts'

/** Changes a user of a data directory. Resolves with the output, such as the token. */
async function user(data: string, verb: string, name: string): Promise<string> {
  const { code, stdout, stderr } = await run('ospd', ['user', verb, name, '--data', data])
  assert.equal(code, 0, stderr)
  return stdout.trim()
}

async function greeted({ port }: Daemon, greeting: Greeting): Promise<RawClient> {
  const client = await RawClient.dial(tcp({ port }))
  client.hello(greeting)
  return client
}

async function letIn(server: Daemon, greeting: Greeting): Promise<RawClient> {
  const client = await greeted(server, greeting)
  await client.expect('HelloAck')
  return client
}

/** Resolves with the printed reason. */
async function refused(server: Daemon, greeting: Greeting, code: 'unauthorized' | 'internal' = 'unauthorized') {
  const client = await greeted(server, greeting)
  const { text } = await client.refused('HelloNack', code)
  await client.closed
  return text
}

spec('ospd serve with users', (it) => {
  it('accepts only the right token', async () => {
    await using at = await place()
    const [alice, bob] = [await user(at.path, 'add', 'alice'), await user(at.path, 'add', 'bob')]
    await using server = await daemon(at.path)
    const client = await letIn(server, { user: 'alice', token: alice })
    assert.equal(
      await refused(server, { user: 'alice' }),
      'the server accepts alice only with a token; ask its operator for one',
    )
    const text = await refused(server, { user: 'alice', token: bob })
    assert.equal(text, 'the server does not accept this token for alice')
    assert.equal(await refused(server, { user: 'bob', token: alice }), 'the server does not accept this token for bob')
    assert.equal(
      await refused(server, { user: 'carol', token: alice }),
      'the server does not accept this token for carol',
    )
    await client.vanish()
    await server.kill('SIGTERM')
    assert.match(server.stderr, / warn {2}link-refused user=alice node=\d+ from=127\.0\.0\.1 code=unauthorized /u)
    for (const token of [alice, bob]) assert.ok(!server.stderr.includes(token.slice(4)))
  })

  it('notices added, rotated and removed users while it runs, and ends their links', async () => {
    await using at = await place()
    const bob = await user(at.path, 'add', 'bob')
    await using server = await daemon(at.path)
    const bystander = await letIn(server, { user: 'bob', token: bob })
    const first = await user(at.path, 'add', 'alice')
    const former = await letIn(server, { user: 'alice', token: first })
    const second = await user(at.path, 'rotate', 'alice')
    assert.equal((await former.dismissed('unauthorized')).text, 'alice was removed from the server, or has a new token')
    await refused(server, { user: 'alice', token: first })
    const latter = await letIn(server, { user: 'alice', token: second })
    await user(at.path, 'remove', 'alice')
    await latter.dismissed('unauthorized')
    await refused(server, { user: 'alice', token: second })
    bystander.send('PingReq', {})
    await bystander.expect('PingAck')
    await bystander.vanish()
  })

  it('that had none requires tokens once the first user is added, and ends all links', async () => {
    await using at = await place()
    await using server = await daemon(at.path)
    const alice = await letIn(server, { user: 'alice' })
    const token = await user(at.path, 'add', 'alice')
    assert.match((await alice.dismissed('unauthorized')).text, /^access to this server has changed/u)
    await refused(server, { user: 'alice' })
    await (await letIn(server, { user: 'alice', token })).vanish()
  })

  it('rejects a message to an unknown user, and names that user', async () => {
    await using at = await place()
    const token = await user(at.path, 'add', 'alice')
    await user(at.path, 'add', 'bob')
    await using server = await daemon(at.path)
    const alice = await letIn(server, { user: 'alice', token })
    alice.send('RegistReq', { userName: 'alice', flags: 0 })
    const { instance } = await alice.expect('RegistAck')
    await alice.expect('RegistListNtf')
    const post = (number: number, ...recipients: string[]) =>
      alice.send('PostMsgReq', posting(idOf(number), recipients, 'hi'), instance)
    const refused = async () => (await alice.expect('PostMsgAck')).refused.map(({ recipients }) => recipients)
    post(1, 'bob', 'carol')
    assert.deepEqual(await refused(), [['carol']])
    post(2, 'bob')
    assert.deepEqual(await refused(), [])
    await user(at.path, 'remove', 'bob')
    post(3, 'bob')
    assert.deepEqual(await refused(), [['bob']])
    const { stdout } = await run('ospd', ['status', '--data', at.path, '--json'])
    assert.deepEqual(JSON.parse(stdout).mailboxes, [{ user: 'bob', messages: 1, bytes: 3 }])
    await alice.vanish()
  })

  it('whose list is damaged accepts no login, and states the reason only in its log', async () => {
    await using at = await place()
    const token = await user(at.path, 'add', 'alice')
    await using server = await daemon(at.path)
    await at.write('users.json', '{"version": 1, "users": [')
    const text = await refused(server, { user: 'alice', token }, 'internal')
    assert.equal(text, 'an internal error occurred')
    await refused(server, { user: 'alice' }, 'internal')
    await server.printed(/ error request-failed .*logins are not possible: .*users\.json is not a list of users/u)
  })

  it('whose list is missing accepts no login', async () => {
    await using at = await place()
    const token = await user(at.path, 'add', 'alice')
    await using server = await daemon(at.path)
    rmSync(join(at.path, 'users.json'))
    await refused(server, { user: 'alice', token }, 'internal')
    await refused(server, { user: 'alice' }, 'internal')
  })
})

spec('ospd serve on an address that other machines can reach', (it) => {
  const serve = (data: string, ...flags: string[]) => [
    'serve',
    '--host',
    '0.0.0.0',
    '--port',
    '0',
    '--data',
    data,
    ...flags,
  ]

  it('refuses to start while no users are defined', async () => {
    await using at = await place()
    const { code, stdout, stderr } = await run('ospd', serve(at.path))
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(
      stderr,
      /^ospd: other machines can reach 0\.0\.0\.0, and no user could log in, and without .*specify --tls auto/mu,
    )
    for (const host of ['::', 'example.org', '192.0.2.1']) {
      assert.equal((await run('ospd', ['serve', '--host', host, '--data', at.path])).code, 2)
    }
  })

  it('refuses to start if tokens could be read in transit', async () => {
    await using at = await place()
    await user(at.path, 'add', 'alice')
    const { code, stderr } = await run('ospd', serve(at.path))
    assert.equal(code, 2)
    assert.match(
      stderr,
      /^ospd: other machines can reach 0\.0\.0\.0, and without TLS tokens could be read in transit/mu,
    )
  })

  it('starts with --allow-plaintext, and warns', async () => {
    await using at = await place()
    await using first = start('ospd', serve(join(at.path, 'a'), '--allow-plaintext'))
    await first.printed(/ready on 0\.0\.0\.0/u)
    assert.match(first.stderr, / warn {2}exposed text="other machines can reach 0\.0\.0\.0 and log in under any/u)
    await user(join(at.path, 'b'), 'add', 'alice')
    await using second = start('ospd', serve(join(at.path, 'b')), { env: { OSPD_ALLOW_PLAINTEXT: 'true' } })
    await second.printed(/ready on 0\.0\.0\.0/u)
    assert.match(
      second.stderr,
      / warn {2}exposed text="other machines can reach 0\.0\.0\.0 without TLS: tokens and contents/u,
    )
  })

  it('requires none of this on a loopback address', async () => {
    await using at = await place()
    await using running = start('ospd', ['serve', '--host', 'localhost', '--port', '0', '--data', at.path])
    await running.printed(/ready on/u)
    assert.equal(running.stderr, '')
  })
})
