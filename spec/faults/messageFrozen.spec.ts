import assert from 'node:assert/strict'
import { join } from 'node:path'
import { canFreeze, freeze, thaw } from '../support/frozen.ts'
import { startMessagingProcess } from '../support/messagingProcesses.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { areOnline, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => `${from + at}`)

spec('a recipient that is frozen for longer than two keep-alive intervals', (it) => {
  if (!canFreeze) return it.skip('loses only its link', 'only Linux shows whether a process is frozen')

  it('loses its link and delays no other client; thawed, it reconnects and receives each message once, in order', async () => {
    await using place = await MortalServer.in()
    const server = await place.daemon(['--keep-alive', '500ms'])
    const [, port] = await server.printed(/ready on 127\.0\.0\.1:(\d+)/u)
    const [alice, carol] = [place.client(), new Recipient(place.client({ user: 'carol' }))]
    const state = join(place.data, '../state')
    await using bob = startMessagingProcess({ port: Number(port), user: 'bob', state, listens: true })
    await areOnline(alice, ['bob', 'carol'])
    const relay = async (texts: readonly string[]) => {
      const states = await Promise.all(texts.map((text) => alice.send(['bob', 'carol'], text)))
      await carol.got(texts.at(-1) ?? '')
      return states.map(([ofBob]) => ofBob?.status)
    }
    await relay(numbers(0, 5))
    await bob.got('4')

    await freeze(bob)
    const { length: told } = server.stderr
    // Some messages are stored before bob returns, more than its window holds.
    await relay(numbers(5, 50))
    await turns(() => /link-closed user=bob .*code=(?:timed-out|slow-consumer)/u.test(server.stderr.slice(told)))
    const states = await relay(numbers(50, 60))
    assert.deepEqual(
      states,
      states.map(() => 'stored'),
    )
    assert.equal(bob.handed.length, 5)

    thaw(bob)
    await bob.got('59')
    await relay(['last'])
    await bob.got('last')
    const all = [...numbers(0, 60), 'last']
    assert.deepEqual(
      bob.handed.map(({ text }) => text),
      all,
    )
    assert.deepEqual(carol.texts, all)
  })
})
