import assert from 'node:assert/strict'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { stateDirectory } from '../../lib/adapters/stateDirectory/stateDirectory.ts'
import { registFlags } from '../../lib/wire/protocol.ts'
import { dyingAt, dyingWithin, relays } from '../support/messageSurvival.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { RawClient } from '../support/rawClient.ts'
import { allTaken, areOnline, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { canInject } from '../support/strace.ts'

spec(
  'messages arrive once and in order at each recipient, and are acknowledged, even if the server is killed',
  (it) => {
    for (const when of ['before', 'after'] as const) {
      const isStored = { stores: when === 'after' }
      const stored = { stores: true }
      it(`${when} it stores the first messages`, relays(dyingAt('append message', when), isStored))
      it(`${when} it acknowledges a message`, relays(dyingAt('PostMsgAck', when, 2), stored))
      it(`${when} it delivers a message while others wait`, relays(dyingAt('DeliverMsgReq', when, 3), stored))
      it(`${when} it removes delivered messages`, relays(dyingAt('remove messages', when), stored))
    }
  },
)

spec('messages arrive once and in order at each recipient, even if the server is killed within a step', (it) => {
  if (!canInject) return it.skip('of any kind', 'strace is missing, or may not trace here')

  // It has written the header of the file and the time before it is ready.
  it('while it writes the first messages', relays(dyingWithin('pwrite64', '3'), { stores: false }))
  it('while it makes the next write', relays(dyingWithin('pwrite64', '4'), { stores: true }))
  it('while it makes the write after that', relays(dyingWithin('pwrite64', '5'), { stores: true }))
})

/** Resolves with the next delivery to a new client, which does not answer it. */
async function unanswered(port: number): Promise<{ mailboxSeq: number; attempt: number }> {
  const raw = await RawClient.dial(tcp({ port }))
  raw.hello({ user: 'bob' })
  await raw.expect('HelloAck')
  raw.send('RegistReq', { userName: 'bob', flags: registFlags.listening })
  for (;;) {
    const message = await raw.next()
    if (message.event !== 'DeliverMsgReq') continue
    const [{ mailboxSeq } = { mailboxSeq: 0 }] = message.messages
    return { mailboxSeq, attempt: message.attempt }
  }
}

spec('a message that was delivered and not acknowledged when the server was killed', (it) => {
  it('is sent again, marked, by each subsequent server', async () => {
    await using place = await MortalServer.in()
    const first = await place.daemon()
    await place.client().send(['bob'], 'hello')
    const seqs = new Set<number>()
    for (let run = 1, server = first; run <= 3; run++) {
      const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
      const { mailboxSeq, attempt } = await unanswered(Number(port))
      assert.equal(attempt, run === 1 ? 1 : 2)
      seqs.add(mailboxSeq)
      await server.kill()
      server = await place.daemon()
    }
    assert.equal(seqs.size, 1)
  })

  it('is not delivered again to another program with the same state directory', async () => {
    await using place = await MortalServer.in()
    const server = await dyingAt('remove messages', 'before')(place)
    const alice = place.client()
    const state = () => stateDirectory(join(place.data, '../state'))
    const bob = new Recipient(place.client({ user: 'bob', state: state() }))
    await areOnline(alice, ['bob'])
    await alice.send(['bob'], 'first')
    const { signal } = await server.ended
    assert.equal(signal, 'SIGKILL')
    assert.deepEqual(bob.texts, ['first'])
    await bob.client.close()

    const storage = disk(place.data)
    await place.serve({ storage })
    assert.deepEqual((await storage.mailboxes.levels()).length, 1)
    const later = new Recipient(place.client({ user: 'bob', state: state() }))
    await alice.send(['bob'], 'second')
    await later.got('second')
    assert.deepEqual(later.texts, ['second'])
    await allTaken(storage)
  })
})
