import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Acked, faultsOf, type Handed, type Intent, isIntent, linesOf } from '../support/chat/history.ts'
import { MortalProgram } from '../support/mortalProgram.ts'
import { startNode } from '../support/processes.ts'
import { startSource } from '../support/sources.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

const names = (kind: string) => Array.from({ length: 4 }, (_, at) => `${kind}-${at}`)
const senders = names('sender')
const listeners = names('listener')
/** The devices of the first listener. */
const devices = ['phone', 'laptop']
/** Duration of the kills. */
const killingMs = 40_000

spec('four senders, four listeners, one of them with two devices, and the server', (it) => {
  it('are killed at random; every acknowledged message is delivered in order, and none twice unless it is marked', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'ospd-chat-'))
    const journalOf = (name: string) => join(directory, `${name}.journal`)
    const once = startNode('dist/bin/ospd.js', ['serve', '--port', '0', '--data', join(directory, 'data'), '--quiet'])
    const [, port = ''] = await once.printed(/ospd ready on 127\.0\.0\.1:(\d+)/u)
    await once.kill()
    const server = new MortalProgram(() =>
      startNode('dist/bin/ospd.js', ['serve', '--port', port, '--data', join(directory, 'data'), '--quiet']),
    )
    const program = (path: string, ...args: string[]) =>
      new MortalProgram(() => startSource(`spec/support/chat/${path}`, [port, ...args]))
    const listener = (name: string, place: string, ...device: string[]) =>
      program('listener.ts', name, journalOf(place), join(directory, place), ...device)
    const [first = '', ...others] = listeners
    const listening = [
      ...devices.map((device) => listener(first, device, device)),
      ...others.map((name) => listener(name, name)),
    ]
    // A device receives all messages from the time when it becomes known.
    for (const { running } of listening) await running.printed(/^listening$/mu)
    const sending = senders.map((name) => program('sender.ts', name, journalOf(name), ...listeners))
    const all = [server, ...sending, ...listening]
    try {
      let kills = 0
      for (const end = performance.now() + killingMs; performance.now() < end; kills++) {
        await sleep(randomInt(100, 1_200))
        await (all[randomInt(all.length)] ?? server).killed(() => sleep(randomInt(500)))
      }
      for (const { running } of sending) {
        running.child.kill('SIGTERM')
        const { code, signal } = await running.ended
        // A sender that was just started may not handle signals yet: another run then sends its remaining messages.
        assert.ok(code === 0 || signal === 'SIGTERM', `a sender failed: ${running.stderr}`)
      }
      const journals = new Map(senders.map((name) => [name, linesOf<Intent | Acked>(journalOf(name))]))
      const handedTo = (device: string) => {
        const placeOf = (name: string) => (name === first ? device : name)
        return new Map(listeners.map((name) => [name, linesOf<Handed>(journalOf(placeOf(name)))]))
      }
      const faults = () => devices.flatMap((device) => faultsOf(journals, handedTo(device)))
      await turns(() => !faults().some((fault) => fault.endsWith('lost')))
      assert.deepEqual(faults(), [], `after ${kills} kills`)
      const acknowledged = [...journals.values()].flat().filter((line) => !isIntent(line)).length
      assert.ok(acknowledged > 20, `only ${acknowledged} messages were acknowledged`)
      const deliveries = [...devices, ...others].flatMap((place) => linesOf<Handed>(journalOf(place))).length
      console.log(`${kills} kills, ${acknowledged} messages acknowledged, ${deliveries} times handed over`)
    } finally {
      for (const { running } of all) await running.kill()
      await rm(directory, { recursive: true })
    }
  })
})
