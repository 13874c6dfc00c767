import assert from 'node:assert/strict'
import { place } from './support/commands.ts'
import { example } from './support/example.ts'
import { spec } from './support/spec.ts'

spec('the examples', (it) => {
  for (const [name, facts] of [
    ['ownStorage', 118],
    ['ownTransport', 56],
    ['ownAuthenticator', 7],
  ] as const) {
    it(`include adapters that pass the suite of their port (${name})`, async () => {
      await using at = await place()
      await using running = example(name, at, 0)
      assert.equal((await running.ended).code, 0, running.stdout + running.stderr)
      const [, tests] = /^. tests (\d+)$/mu.exec(running.stdout) ?? []
      const [, passed] = /^. pass (\d+)$/mu.exec(running.stdout) ?? []
      assert.equal(passed, tests)
      assert.ok(Number(tests) >= facts, `${tests} facts`)
    })
  }
})
