import assert from 'node:assert/strict'
import { memory } from '../../../lib/adapters/memory/memoryStorage.ts'
import { memoryTransport } from '../../../lib/adapters/memory/memoryTransport.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client } from '../../../lib/client/client.ts'
import { RunningClient } from '../../../lib/client/runningClient.ts'
import type { OspError } from '../../../lib/errors.ts'
import { startServer } from '../../../lib/server/server.ts'
import { breakable } from '../../support/breakable.ts'
import { remoteTransport, type SocketProperties } from '../../support/remoteTransport.ts'
import { spec } from '../../support/spec.ts'

/** A client over such a connection, and the events of the frames that it has sent. */
async function over(way: SocketProperties, options: Partial<BoundClientOptions>) {
  const platform = nodePlatform()
  const wire = memoryTransport()
  const authenticator = {
    authenticate: async ({ user }: { user: string }) => ({ user }),
    knows: async () => true,
  }
  const server = await startServer({ platform, authenticator, storage: memory(), listen: wire })
  const to = breakable(remoteTransport(wire, way))
  let frames = 0
  to.inspect = () => ++frames > 0
  const client = new RunningClient({
    to,
    user: 'alice',
    platform,
    software: 'spec',
    token: async () => 'secret',
    ...options,
  })
  return {
    client,
    server,
    frames: () => frames,
    async [Symbol.asyncDispose]() {
      await client.close()
      await server.close()
    },
  }
}

const uses: readonly (readonly [string, (client: Client) => Promise<unknown>])[] = [
  ['for uploads', (client) => client.online()],
  ['for messages', (client) => client.send(['bob'], 'hi')],
]

spec('the token of a client', (it) => {
  for (const [what, use] of uses) {
    it(`${what} is not sent over a connection that others can read, and the refusal is final`, async () => {
      await using at = await over({}, {})
      await assert.rejects(use(at.client), (error: OspError) => {
        assert.equal(error.code, 'unauthorized')
        assert.match(
          error.message,
          /not sent to 192\.0\.2\.1: others could read it .* use TLS \(--tls\), or the option allowPlaintext \(--allow-plaintext\)/u,
        )
        assert.ok(!error.message.includes('secret'))
        return true
      })
      assert.deepEqual([at.client.status, at.frames(), at.server.status().links], ['refused', 0, 0])
    })
  }

  for (const [what, way] of [
    ['over a guarded link', { guarded: true }],
    ['within this machine', { local: true }],
  ] as const) {
    it(`goes ${what}`, async () => {
      await using at = await over(way, {})
      await at.client.online()
    })
  }

  it('is sent over any connection with `allowPlaintext`', async () => {
    await using at = await over({}, { allowPlaintext: true })
    await at.client.online()
  })

  it('that is empty counts as no token, and does not prevent connecting', async () => {
    await using at = await over({}, { token: async () => '' })
    await at.client.online()
  })
})
