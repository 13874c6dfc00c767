import assert from 'node:assert/strict'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import { defaultLimits, fixed, MiB } from '../../../lib/limits.ts'
import { features } from '../../../lib/wire/protocol.ts'
import { patterned } from '../../support/memorySource.ts'
import type { RawClient } from '../../support/rawClient.ts'
import { remoteClients } from '../../support/remoteClients.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { pass, turn } from '../../support/turn.ts'

const file = { name: 'a', bytes: patterned(10) }

spec('HELLO', (it) => {
  it('is answered with the limits', async () => {
    await using rig = await ServerRig.start({
      keepAliveMs: 7_000,
      uploadsPerLink: 3,
      recipients: 9,
      chunkBytes: 2 * MiB,
    })
    const client = await rig.dial()
    client.hello()
    const { bootId, node, ...told } = await client.expect('HelloAck')
    assert.deepEqual(told, {
      event: 'HelloAck',
      version: 1,
      maxFrame: 2 * MiB + 8,
      keepAlive: 7_000,
      maxUploads: 3,
      maxRecipients: 9,
      features: 0,
      messageIdFor: defaultLimits.messageIdMs / 1_000,
      maxPut: MiB,
    })
    assert.equal(bootId.length, 16)
    assert.ok(node > 0)
  })

  it('agrees on the features that it has, and on no others, on a socket that loses nothing', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.dial()
    client.hello({ features: 0xffff_ffff })
    const { uncheckedContent, storedFiles, putFiles } = features
    assert.equal((await client.expect('HelloAck')).features, uncheckedContent | storedFiles | putFiles)
  })

  it('gives every link its own node, and every start of the server a boot id', async () => {
    await using rig = await ServerRig.start()
    const greet = async () => {
      const client = await rig.dial()
      client.hello({ session: `${Math.random()}` })
      return client.expect('HelloAck')
    }
    const [first, second] = [await greet(), await greet()]
    assert.notEqual(first.node, second.node)
    assert.deepEqual(first.bootId, second.bootId)
    await rig.server.close()
    await rig.restart()
    assert.notDeepEqual((await greet()).bootId, first.bootId)
  })

  it('is answered for any version in its header, and no other frame after it is', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.dial()
    const fields = {
      versions: [9, 1],
      userName: 'alice',
      token: '',
      session: new Uint8Array(16),
      software: '',
      features: 0,
      attempt: undefined,
    }
    client.send('HelloReq', fields, 0, { version: 9 })
    assert.equal((await client.expect('HelloAck')).version, 1)
    client.send('PingReq', {}, 0, { version: 9 })
    await client.dismissed('malformed')
  })

  const wrongFirst: readonly [string, (client: RawClient) => void][] = [
    ['another request', (client) => client.send('CancelFileReq', { fileName: 'a' })],
    ['a PING_REQ', (client) => client.send('PingReq', {})],
    ['a reply', (client) => client.send('PingAck', { listVersion: undefined })],
    ['GOODBYE', (client) => client.send('GoodbyeNtf', { code: 0, retryAfter: 0, text: '' })],
    ['an event that only servers send', (client) => client.send('PostFileAck', { progress: 0, durable: 0 })],
    ['an unknown event', (client) => client.send('PingReq', {}, 0, { event: 999 })],
    ['of another app', (client) => client.send('PingReq', {}, 0, { app: 1 })],
  ]
  for (const [what, send] of wrongFirst) {
    it(`must be first: a first frame that is ${what} ends the link`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.dial()
      send(client)
      await client.dismissed('malformed')
    })
  }

  it('must be sent once: a second one ends the link', async () => {
    await using rig = await ServerRig.start()
    const { raw } = await rig.client()
    raw.hello()
    await raw.dismissed('malformed')
  })

  it('must be answered before a request: an earlier request ends the link', async () => {
    await using rig = await ServerRig.start(
      {},
      { authenticator: { ...allowAll, authenticate: () => new Promise(() => {}) } },
    )
    const client = await rig.dial()
    client.hello()
    client.send('CancelFileReq', { fileName: 'a' })
    await client.dismissed('malformed')
  })

  it('without a version that the server speaks is refused, and the link ends', async () => {
    await using rig = await ServerRig.start()
    const client = await rig.dial()
    client.hello({ versions: [2, 3] })
    await client.refused('HelloNack', 'unsupported-version')
    await client.closed
  })

  for (const user of ['', 'a/b', '..', 'a\u0000', 'cafe\u0301', 'x'.repeat(fixed.userNameBytes + 1)]) {
    it(`with ${JSON.stringify(user.slice(0, 8))}${user.length > 8 ? '…' : ''} as the user is refused`, async () => {
      await using rig = await ServerRig.start()
      const client = await rig.dial()
      client.hello({ user })
      await client.refused('HelloNack', 'bad-name')
      await client.closed
    })
  }

  it('from another machine is refused if the server has no authentication', async () => {
    await using rig = await ServerRig.start({}, { listen: remoteClients(memoryTransport()) })
    const client = await rig.dial()
    client.hello()
    await client.refused('HelloNack', 'unauthorized')
    await client.closed
  })

  it('is passed to the authenticator, which returns the user of the link', async () => {
    const authenticator = {
      ...allowAll,
      authenticate: async ({ user, token }: { user: string; token: string }) => ({ user: `${user}-${token}` }),
    }
    await using rig = await ServerRig.start({}, { authenticator })
    const raw = await rig.dial()
    raw.hello({ user: 'alice', token: 'secret' })
    await raw.expect('HelloAck')
    assert.deepEqual(rig.server.status().users, ['alice-secret'])
    assert.ok(!JSON.stringify(rig.log).includes('token'))
  })

  it('must be complete within its time, or the link ends', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({}, { platform })
    const client = await rig.dial()
    await pass(platform.clock, defaultLimits.handshakeMs - 1)
    assert.deepEqual(client.unread, [])
    await pass(platform.clock, 1)
    await client.dismissed('timed-out')
  })

  it('is still accepted if the server was too busy to read it in time, once', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({}, { platform })
    const clients = [await rig.dial(), await rig.dial()]
    platform.clock.freeze(defaultLimits.handshakeMs + 1_000)
    await pass(platform.clock, 499)
    clients[0]?.hello({ user: 'alice' })
    await clients[0]?.expect('HelloAck')
    assert.deepEqual(clients[1]?.unread, [])
    await pass(platform.clock, 1)
    await clients[1]?.dismissed('timed-out')
  })

  it('does not end a link by its time limit after its reply', async () => {
    const platform = manualPlatform()
    await using rig = await ServerRig.start({}, { platform })
    const { raw } = await rig.client()
    await pass(platform.clock, defaultLimits.handshakeMs + 1)
    assert.deepEqual(raw.unread, [])
  })

  it('with the session of an open link ends that link first', async () => {
    await using rig = await ServerRig.start()
    const former = await rig.client({ session: 'same' })
    await former.start(file)
    const client = await rig.client({ session: 'same' })
    await former.raw.dismissed('link-replaced')
    assert.deepEqual(rig.server.status().uploads, [])
    assert.equal(rig.server.status().links, 1)
    await client.continue(file)
  })

  it('of an earlier attempt that arrives late is refused and does not end the later link', async () => {
    await using rig = await ServerRig.start()
    const online = await rig.client({ session: 'same', attempt: 3 })
    await online.start(file)
    for (const attempt of [1, 2, undefined]) {
      const late = await rig.dial()
      late.hello({ session: 'same', ...(attempt !== undefined && { attempt }) })
      const { retryAfter } = await late.refused('HelloNack', 'link-replaced')
      assert.equal(retryAfter, defaultLimits.retryAfterMs)
      await late.closed
    }
    assert.equal(rig.server.status().uploads.length, 1)
    assert.deepEqual(online.raw.unread, [])
    await rig.client({ session: 'same', attempt: 4 })
    await online.raw.dismissed('link-replaced')
  })

  it('of an earlier attempt is refused also if the later one was admitted during its login', async () => {
    const gates: (() => void)[] = []
    const authenticate = async ({ user }: { user: string }) => {
      await new Promise<void>((resolve) => gates.push(resolve))
      return { user }
    }
    await using rig = await ServerRig.start({}, { authenticator: { ...allowAll, authenticate } })
    const [early, later] = [await rig.dial(), await rig.dial()]
    early.hello({ session: 'same', attempt: 1 })
    later.hello({ session: 'same', attempt: 2 })
    await turn()
    gates[1]?.()
    await later.expect('HelloAck')
    gates[0]?.()
    await early.refused('HelloNack', 'link-replaced')
    assert.deepEqual(later.unread, [])
  })

  it('of the same session on two links at once admits one of them', async () => {
    let open: () => void = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const authenticate = async ({ user }: { user: string }) => {
      await gate
      return { user }
    }
    await using rig = await ServerRig.start({}, { authenticator: { ...allowAll, authenticate } })
    const clients = [await rig.dial(), await rig.dial()]
    for (const client of clients) client.hello({ session: 'same' })
    await turn()
    open()
    await turn()
    assert.equal(rig.server.status().links, 1)
  })

  it('with the session of another user ends nothing', async () => {
    await using rig = await ServerRig.start()
    await rig.client({ session: 'same', user: 'alice' })
    await rig.client({ session: 'same', user: 'bob' })
    assert.equal(rig.server.status().links, 2)
  })

  it('is refused by a server with the maximum number of links', async () => {
    await using rig = await ServerRig.start({ links: 1 })
    await rig.client({ session: 'one' })
    const second = await rig.dial()
    second.hello({ session: 'two' })
    const { retryAfter } = await second.refused('HelloNack', 'rate-limited')
    assert.equal(retryAfter, defaultLimits.retryAfterMs)
  })
})

const allowAll = {
  authenticate: async ({ user }: { user: string }) => ({ user }),
  knows: async () => true,
}
