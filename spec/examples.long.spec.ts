import assert from 'node:assert/strict'
import { place } from './support/commands.ts'
import { example } from './support/example.ts'
import { postgresMissing } from './support/postgresServer.ts'
import { startNode } from './support/processes.ts'
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

spec('the demo of several servers', (it) => {
  if (postgresMissing !== undefined) return it.skip('loses nothing', postgresMissing)

  it('loses nothing when a server is killed', async () => {
    await using at = await place()
    await using demo = startNode('examples/clusterDemo.mjs', [], { cwd: at.path })
    assert.equal((await demo.ended).code, 0, demo.stdout + demo.stderr)
    assert.match(
      demo.stdout,
      /^Server A was killed \(SIGKILL\), after [45]\.\d MiB had been sent to it and carla had \d+ messages\.$/mu,
    )
    assert.match(demo.stdout, /^Every stored file is identical to the original\.$/mu)
    assert.match(demo.stdout, /^Of (\d+) messages, \1 have arrived, each once and in order\.$/mu)
  })
})
