import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { ClientSession } from '../../../lib/client/connection/session.ts'
import { handled, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

spec('a session that is closed while the server answers HELLO', (it) => {
  for (let steps = 1; steps < 16; steps++) {
    it(`ends with its link (${steps} steps later)`, async () => {
      await using server = new ScriptedServer()
      const session = new ClientSession({
        to: server.transport,
        platform: { ...nodePlatform(), clock: server.clock },
        user: 'alice',
        token: async () => '',
        allowPlaintext: false,
        retryForMs: 0,
        software: 'spec',
        opened: () => {},
        changed: () => {},
      })
      session.start()
      while (!server.links[0]) await turn()
      const [link] = server.links
      link.reply(await link.expect('HelloReq'), server.welcome)
      for (let step = 0; step < steps; step++) await undefined
      await session.close()
      assert.ok(link.socket.last, 'the link was not ended')
    })
  }
})

spec('the waits of a client before it connects again', (it) => {
  const platform = { ...nodePlatform(), random: { ...nodePlatform().random, fraction: () => 1 } }
  /** Resolves with the waits after links that the server ends `afterMs` after it has answered HELLO and, if `answers`, REGIST. */
  const waits = async ({ afterMs, answers }: { readonly afterMs: number; readonly answers: boolean }) => {
    await using server = new ScriptedServer()
    const client = server.client({ platform: { ...platform, clock: server.clock } })
    const waited: number[] = []
    client.on('status', (status, _, retryMs = 0) => {
      if (status === 'waiting') waited.push(retryMs)
    })
    handled(client.presence.ready())
    for (let links = 1; links <= 8; links++) {
      const link = await server.link()
      if (answers) await link.register(0)
      await server.pass(afterMs)
      link.break()
      await turn()
      await server.pass(waited.at(-1) ?? 0)
    }
    return waited
  }

  it('stay short while every link works for a second, as in a cluster whose servers are killed', async () => {
    assert.deepEqual(await waits({ afterMs: 1_000, answers: true }), Array(8).fill(500))
  })

  const growing = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]

  it('grow while the server ends every link earlier', async () => {
    assert.deepEqual(await waits({ afterMs: 999, answers: true }), growing)
  })

  it('grow while the server answers HELLO only, unless a link works for 30 s', async () => {
    assert.deepEqual(await waits({ afterMs: 9_000, answers: false }), growing)
    assert.deepEqual(await waits({ afterMs: 30_000, answers: false }), Array(8).fill(500))
  })
})
