import assert from 'node:assert/strict'
import { memoryTransport } from '../../lib/adapters/memoryTransport.ts'
import { defaultLimits, type Limits } from '../../lib/limits.ts'
import { deferred } from '../../lib/runtime/deferred.ts'
import { fromAfar } from '../support/fromAfar.ts'
import type { RawClient } from '../support/rawClient.ts'
import { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'
import { turn } from '../support/turn.ts'

const anybody = { authenticate: async ({ user }: { user: string }) => ({ user }), knows: async () => true }

/** A server, and links to it that seem to come from any address. */
async function addressed(limits: Partial<Limits>, gone?: Promise<void>) {
  let address = ''
  const listen = fromAfar(memoryTransport(), () => address, gone)
  const rig = await ServerRig.start(limits, { listen, authenticator: anybody })
  return Object.assign(rig, {
    async from(host: string): Promise<RawClient> {
      address = host
      const raw = await rig.dial()
      await turn()
      return raw
    },
  })
}

async function refusedFrom(rig: Awaited<ReturnType<typeof addressed>>, host: string): Promise<string> {
  const raw = await rig.from(host)
  const { text, retryAfter } = await raw.dismissed('rate-limited')
  assert.equal(retryAfter, defaultLimits.retryAfterMs)
  return text
}

spec('links from one address', (it) => {
  it('are turned away beyond the bound, with a reason, and none from elsewhere is', async () => {
    await using rig = await addressed({ linksPerAddress: 2 })
    for (let count = 0; count < 2; count++) await rig.from('192.0.2.1')
    assert.match(
      await refusedFrom(rig, '192.0.2.1'),
      /2 links from 192\.0\.2\.1, as many as it takes from one address/u,
    )
    await refusedFrom(rig, '::ffff:192.0.2.1')
    const other = await rig.from('192.0.2.2')
    other.hello()
    await other.expect('HelloAck')
  })

  it('are those of one network in IPv6', async () => {
    await using rig = await addressed({ linksPerAddress: 1 })
    await rig.from('2001:db8::1')
    await refusedFrom(rig, '2001:db8::2')
    const other = await rig.from('2001:db8:0:1::1')
    other.hello()
    await other.expect('HelloAck')
  })

  it('count until they end, and those that are turned away never do', async () => {
    await using rig = await addressed({ linksPerAddress: 1, links: 2 })
    const first = await rig.from('192.0.2.1')
    for (let count = 0; count < 5; count++) await refusedFrom(rig, '192.0.2.1')
    const other = await rig.from('192.0.2.2')
    await refusedFrom(rig, '192.0.2.3')
    await first.vanish()
    await turn()
    const again = await rig.from('192.0.2.1')
    for (const raw of [again, other]) {
      raw.hello({ session: raw === again ? 'a' : 'b' })
      await raw.expect('HelloAck')
    }
    assert.equal(rig.server.status().links, 2)
  })

  it('count until their sockets are gone, also where the server has ended them', async () => {
    const gone = deferred<void>()
    await using rig = await addressed({ linksPerAddress: 1 }, gone.promise)
    const first = await rig.from('192.0.2.1')
    first.send('ListReq', {})
    await first.dismissed('malformed')
    await refusedFrom(rig, '192.0.2.1')
    gone.resolve()
    await turn()
    const again = await rig.from('192.0.2.1')
    again.hello()
    await again.expect('HelloAck')
  })

  it('are logged once when they begin to be turned away, and not for each', async () => {
    await using rig = await addressed({ linksPerAddress: 1 })
    await rig.from('192.0.2.1')
    for (let count = 0; count < 20; count++) await refusedFrom(rig, '192.0.2.1')
    await rig.from('192.0.2.2')
    await refusedFrom(rig, '192.0.2.2')
    assert.deepEqual(
      rig.log.map(({ event, code, from }) => [event, code, from]),
      ['192.0.2.1', '192.0.2.2'].map((from) => ['link-refused', 'rate-limited', from]),
    )
  })
})
