import assert from 'node:assert/strict'
import { rememberNames } from '../../../lib/adapters/auth/rememberNames.ts'
import { loopbackOnly, allowAll as takenAtTheirWord } from '../../../lib/adapters/auth/unverified.ts'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import { defaultLimits, type Limits } from '../../../lib/limits.ts'
import type { Authenticator } from '../../../lib/ports/authenticator.ts'
import { type Deferred, deferred } from '../../../lib/runtime/deferred.ts'
import type { RawClient } from '../../support/rawClient.ts'
import { remoteClients } from '../../support/remoteClients.ts'
import { manualPlatform, ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

const allowAll = { authenticate: async ({ user }: { user: string }) => ({ user }), knows: async () => true }

/**
 * A server, and links to it that seem to come from any address. Its clock stands still. A socket that the server closes
 * ends when `gone` resolves, at the latest when the server is disposed of.
 */
async function addressed(limits: Partial<Limits>, gone?: Deferred<void>, authenticator: Authenticator = allowAll) {
  let address = ''
  let count = 0
  const platform = manualPlatform()
  const listen = remoteClients(memoryTransport(), () => address, gone?.promise)
  const rig = await ServerRig.start(limits, { listen, authenticator, platform })
  return Object.assign(rig, {
    clock: platform.clock,
    async [Symbol.asyncDispose](): Promise<void> {
      gone?.resolve()
      await ServerRig.prototype[Symbol.asyncDispose].call(rig)
    },
    /** A link that says nothing. */
    async from(host: string): Promise<RawClient> {
      address = host
      const raw = await rig.dial()
      await turn()
      return raw
    },
    /** A link that is let in; with a token its user is proven. */
    async letIn(host: string, user = 'alice', token = ''): Promise<RawClient> {
      const raw = await this.from(host)
      raw.hello({ session: `${++count}`, user, token })
      await raw.expect('HelloAck')
      return raw
    },
    /** Why a link is not let in. */
    async refused(host: string, user = 'alice', token = ''): Promise<string> {
      const raw = await this.from(host)
      raw.hello({ session: `${++count}`, user, token })
      const { text, retryAfter } = await raw.refused('HelloNack', 'rate-limited')
      assert.equal(retryAfter, defaultLimits.retryAfterMs)
      await raw.closed
      return text
    },
  })
}

spec('links from one address', (it) => {
  it('are refused beyond the limit, with a reason, and links from elsewhere are not', async () => {
    await using rig = await addressed({ linksPerAddress: 2 })
    for (let count = 0; count < 2; count++) await rig.letIn('192.0.2.1')
    assert.match(await rig.refused('192.0.2.1'), /2 links from 192\.0\.2\.1, the maximum for one address/u)
    await rig.refused('::ffff:192.0.2.1')
    await rig.letIn('192.0.2.2')
  })

  it('are the links of one network in IPv6', async () => {
    await using rig = await addressed({ linksPerAddress: 1 })
    await rig.letIn('2001:db8::1')
    await rig.refused('2001:db8::2')
    await rig.letIn('2001:db8:0:1::1')
  })

  it('count until they end, and refused ones never count', async () => {
    await using rig = await addressed({ linksPerAddress: 1, links: 2 })
    const first = await rig.letIn('192.0.2.1')
    for (let count = 0; count < 5; count++) await rig.refused('192.0.2.1')
    await rig.letIn('192.0.2.2', 'bob')
    await rig.refused('192.0.2.3', 'carol')
    await first.vanish()
    await turn()
    await rig.letIn('192.0.2.1')
    assert.equal(rig.server.status().links, 2)
  })

  it('count until their socket is closed', async () => {
    const gone = deferred<void>()
    await using rig = await addressed({}, gone)
    const link = await rig.letIn('192.0.2.1')
    link.send('RegistReq', { userName: 'alice', flags: 1 }, 5)
    await link.dismissed('malformed')
    assert.equal(rig.server.status().gauges.links, 1)
    gone.resolve()
    await turn()
    assert.equal(rig.server.status().gauges.links, 0)
  })

  it('make room at once when one has ended, also while its socket waits for the peer', async () => {
    const gone = deferred<void>()
    await using rig = await addressed({ linksPerAddress: 1 }, gone)
    const first = await rig.letIn('192.0.2.1')
    first.send('HelloReq', {
      versions: [],
      userName: '',
      token: '',
      session: new Uint8Array(16),
      software: '',
      features: 0,
      attempt: undefined,
    })
    await first.dismissed('malformed')
    await rig.letIn('192.0.2.1')
    gone.resolve()
    await turn()
    await rig.refused('192.0.2.1')
  })

  it('are logged once when refusals begin, and not for each', async () => {
    await using rig = await addressed({ linksPerAddress: 1 })
    await rig.letIn('192.0.2.1')
    for (let count = 0; count < 20; count++) await rig.refused('192.0.2.1')
    await rig.letIn('192.0.2.2')
    await rig.refused('192.0.2.2')
    assert.deepEqual(
      rig.log.filter(({ event }) => event !== 'link-open').map(({ event, code, from }) => [event, code, from]),
      ['192.0.2.1', '192.0.2.2'].map((from) => ['link-refused', 'rate-limited', from]),
    )
  })

  it('of several users: the user with the most links loses one to a user with fewer', async () => {
    await using rig = await addressed({ linksPerAddress: 3 })
    const many = [await rig.letIn('192.0.2.1', 'mallory'), await rig.letIn('192.0.2.1', 'mallory')]
    await rig.letIn('192.0.2.1', 'mallory')
    await rig.letIn('192.0.2.1', 'bob')
    const { text } = await (many[0] as RawClient).dismissed('rate-limited')
    assert.equal(text, 'mallory has the most links, and the server needs one for another user')
    assert.match(await rig.refused('192.0.2.1', 'mallory'), /3 links from/u)
  })
})

spec('links before HELLO', (it) => {
  it('never keep a new link out: the one that has waited longest is closed with the reason', async () => {
    await using rig = await addressed({ pendingLinks: 3 })
    const silent: RawClient[] = []
    for (let at = 0; at < 4; at++) silent.push(await rig.from('192.0.2.1'))
    const { text } = await (silent[0] as RawClient).dismissed('rate-limited')
    assert.equal(text, 'the link has not sent HELLO, and the server needs its slot for another link')
    await rig.letIn('192.0.2.2')
    assert.deepEqual(
      silent.map(({ unread }) => unread),
      [[], ['GoodbyeNtf'], [], []],
    )
  })

  it('are closed first if their address has the most', async () => {
    await using rig = await addressed({ pendingLinks: 4 })
    const honest = await rig.from('192.0.2.9')
    for (let at = 0; at < 20; at++) await rig.from(`192.0.2.${1 + (at % 2)}`)
    honest.hello()
    await honest.expect('HelloAck')
  })

  it('are closed first after a second of silence, however few their address has', async () => {
    await using rig = await addressed({ pendingLinks: 4 })
    for (let at = 1; at <= 2; at++) await rig.from(`192.0.2.${at}`)
    rig.clock.pass(1_000)
    const behindOne = [await rig.from('192.0.2.9'), await rig.from('192.0.2.9')]
    for (let at = 3; at <= 4; at++) await rig.from(`192.0.2.${at}`)
    for (const [at, raw] of behindOne.entries()) {
      raw.hello({ session: `${at}` })
      await raw.expect('HelloAck')
    }
  })

  it('do not count against the limit of links after it, nor the reverse', async () => {
    await using rig = await addressed({ pendingLinks: 2, links: 2 })
    for (let at = 0; at < 2; at++) await rig.letIn('192.0.2.1', `user-${at}`, 'token')
    for (let at = 0; at < 5; at++) await rig.from('192.0.2.1')
    assert.equal(rig.server.status().links, 2)
    assert.match(await rig.refused('192.0.2.2', 'bob', 'token'), /2 links, its maximum/u)
  })

  it('that are being authenticated stay, and a new link of the same address is refused', async () => {
    const gate = deferred<void>()
    const authenticate = async ({ user }: { user: string }) => {
      await gate.promise
      return { user }
    }
    const listen = remoteClients(memoryTransport())
    await using rig = await ServerRig.start(
      { pendingLinks: 1 },
      { listen, authenticator: { ...allowAll, authenticate } },
    )
    const first = await rig.dial()
    first.hello()
    await turn()
    const second = await rig.dial()
    assert.match((await second.dismissed('rate-limited')).text, /1 links that have not sent HELLO/u)
    gate.resolve()
    await first.expect('HelloAck')
  })
})

spec('links of one user', (it) => {
  it('are limited over all addresses, and other users can still log in', async () => {
    await using rig = await addressed({ linksPerUser: 2 })
    await rig.letIn('192.0.2.1')
    const second = await rig.letIn('192.0.2.2')
    assert.equal(await rig.refused('192.0.2.3'), 'alice already has 2 links, the maximum for one user')
    await rig.letIn('192.0.2.3', 'bob')
    await second.vanish()
    await turn()
    await rig.letIn('192.0.2.3')
  })

  it('make room for users with fewer at the limit, the longest idle first', async () => {
    await using rig = await addressed({ links: 4 })
    const busy = await rig.letIn('192.0.2.1', 'mallory', 'token')
    busy.send('RegistReq', { userName: 'mallory', flags: 1 })
    await busy.expect('RegistAck')
    const idle = await rig.letIn('192.0.2.2', 'mallory', 'token')
    rig.clock.pass(10)
    const later = await rig.letIn('192.0.2.3', 'mallory', 'token')
    await rig.letIn('192.0.2.4', 'bob', 'token')
    await rig.letIn('192.0.2.5', 'carol', 'token')
    await idle.dismissed('rate-limited')
    // Now mallory has two, and dave none.
    await rig.letIn('192.0.2.6', 'dave', 'token')
    await later.dismissed('rate-limited')
    assert.match(await rig.refused('192.0.2.7', 'erin', 'token'), /4 links, its maximum/u)
    assert.match(await rig.refused('192.0.2.2', 'mallory', 'token'), /4 links/u)
    busy.send('PingReq', {})
  })

  it('without tokens can have any name, so their addresses count as well', async () => {
    await using rig = await addressed({ links: 4 })
    const many: RawClient[] = []
    for (let at = 0; at < 4; at++) many.push(await rig.letIn('192.0.2.1', `name-${at}`))
    await rig.letIn('192.0.2.2', 'bob')
    await (many[0] as RawClient).dismissed('rate-limited')
    await rig.letIn('192.0.2.2', 'carol')
    assert.match(await rig.refused('192.0.2.2', 'dave'), /4 links, its maximum/u)
  })

  it('with tokens that the server does not check count as links of any name', async () => {
    const credentials = { user: 'alice', token: 'made up', peer: { host: '127.0.0.1', port: 1, local: true } }
    assert.deepEqual(await loopbackOnly().authenticate(credentials), { user: 'alice', unproven: true })
    for (const authenticator of [takenAtTheirWord(), rememberNames(takenAtTheirWord())]) {
      await using rig = await addressed({ links: 4 }, undefined, authenticator)
      const many: RawClient[] = []
      for (let at = 0; at < 4; at++) many.push(await rig.letIn('192.0.2.1', `name-${at}`, 'made up'))
      await rig.letIn('192.0.2.2', 'bob')
      await (many[0] as RawClient).dismissed('rate-limited')
    }
  })
})
