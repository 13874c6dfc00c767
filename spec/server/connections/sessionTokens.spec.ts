import assert from 'node:assert/strict'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import type { BoundServeOptions } from '../../../lib/server/server.ts'
import type { Greeting } from '../../support/rawClient.ts'
import { remoteTransport, type SocketProperties } from '../../support/remoteTransport.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

/** A link over such a way that has said HELLO; the tokens that the authenticator has seen come into `asked`. */
async function greeted(way: SocketProperties, greeting: Greeting, options: Partial<BoundServeOptions> = {}) {
  const asked: string[] = []
  const authenticator = {
    authenticate: async ({ user, token }: { user: string; token: string }) => {
      asked.push(token)
      return { user }
    },
    knows: async () => true,
  }
  const rig = await ServerRig.start({}, { authenticator, listen: remoteTransport(memoryTransport(), way), ...options })
  const raw = await rig.dial()
  raw.hello(greeting)
  return { rig, raw, asked, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() }
}

spec('a token that reaches the server', (it) => {
  it('in clear text from another machine is refused without a check', async () => {
    await using at = await greeted({}, { token: 'secret' })
    const { text } = await at.raw.refused('HelloNack', 'unauthorized')
    assert.match(text, /accepts no token over a connection that others can read: use TLS/u)
    await at.raw.closed
    assert.deepEqual(at.asked, [])
    assert.match(JSON.stringify(at.rig.log), /link-refused/u)
    assert.ok(!JSON.stringify(at.rig.log).includes('secret'))
  })

  for (const [what, way] of [
    ['over a guarded link', { guarded: true }],
    ['from this machine', { local: true }],
  ] as const) {
    it(`${what} is shown to the authenticator`, async () => {
      await using at = await greeted(way, { token: 'secret' })
      await at.raw.expect('HelloAck')
      assert.deepEqual(at.asked, ['secret'])
    })
  }

  it('from anywhere is accepted by a server with allowPlaintext', async () => {
    await using at = await greeted({}, { token: 'secret' }, { allowPlaintext: true })
    await at.raw.expect('HelloAck')
    assert.deepEqual(at.asked, ['secret'])
  })

  it('that is empty leaves the decision to the authenticator, on any connection', async () => {
    await using at = await greeted({}, { token: '' })
    await at.raw.expect('HelloAck')
    assert.deepEqual(at.asked, [''])
  })
})
