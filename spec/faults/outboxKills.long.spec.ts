import assert from 'node:assert/strict'
import { connect } from 'ospd'
import { stateDirectory, tcp } from 'ospd/node'
import { place } from '../support/commands.ts'
import { served } from '../support/served.ts'
import { startSource } from '../support/sources.ts'
import { spec } from '../support/spec.ts'

spec('a program with an outbox that is killed at each write', (it) => {
  it('loses no queued message, and sends none twice or out of order', async () => {
    await using at = await place()
    await using its = await served()
    const queued: number[] = []
    let first = 1
    for (let write = 1; write <= 9; write++) {
      for (const when of ['before', 'after']) {
        const args = [String(its.port), at.path, String(first), String(write), when]
        await using program = startSource('spec/support/outboxProgram.ts', args)
        assert.equal((await program.ended).signal, 'SIGKILL', program.stderr)
        queued.push(...program.stdout.trim().split('\n').filter(Boolean).map(Number))
        // More than it can have sent.
        first += 100
      }
    }
    const alice = await connect(tcp({ port: its.port }), { user: 'alice', state: stateDirectory(at.path) })
    await alice.send(['bob'], 'end')
    await alice.close()
    const bob = await connect(tcp({ port: its.port }), { user: 'bob' })
    const received: number[] = []
    for await (const message of bob.messages()) {
      if (message.text() === 'end') break
      received.push(Number(message.text()))
    }
    await bob.close()
    assert.deepEqual(
      received,
      [...new Set(received)].sort((a, b) => a - b),
    )
    assert.deepEqual(
      queued.filter((number) => !received.includes(number)),
      [],
    )
  })
})
