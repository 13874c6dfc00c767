import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { ClientSession } from '../../../lib/client/connection/session.ts'
import { ScriptedServer } from '../../support/scriptedServer.ts'
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
