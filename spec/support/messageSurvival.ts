import assert from 'node:assert/strict'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import type { Kill } from './killableServer.ts'
import { MortalServer } from './mortalServer.ts'
import type { Running } from './processes.ts'
import { allTaken, areOnline, mailboxesIn, Recipient, type Waiting } from './recipients.ts'
import { injecting } from './strace.ts'
import { turn } from './turn.ts'

/** Starts a server that will be killed while it relays messages. */
export type StartDoomedServer = (place: MortalServer) => Promise<Running>

export const dyingAt =
  (at: Kill['at'], when: Kill['when'], nth = 1): StartDoomedServer =>
  (place) =>
    place.killable({ kill: { at, when, nth }, limits: {}, onConflict: 'replace' })

/** Starts a daemon that is killed when it enters a system call about the first file of the message journal. */
export const dyingWithin =
  (calls: string, when: string): StartDoomedServer =>
  (place) =>
    place.daemon([], injecting({ calls, fault: 'signal=SIGKILL', when, paths: [segmentIn(place.data)] }))

/** A file of the message journal. */
export const segmentIn = (data: string, number = 1): string =>
  join(layoutOf(data).mailboxes, `${String(number).padStart(8, '0')}.log`)

const online = ['bob', 'carol']
/** One of the recipients connects only at the end. */
const all = [...online, 'dave']
const texts = ['1', '2', '3', '4', '5']

/**
 * Kills the server while it relays messages to several recipients, some of them listening, and starts it again. Fails
 * unless each message reaches each recipient once and in order, and the sender is informed. `stores`: whether the
 * server has stored any message by then.
 */
export const relays =
  (start: StartDoomedServer, { stores }: { stores: boolean }) =>
  async (): Promise<void> => {
    await using place = await MortalServer.in()
    const server = await start(place)
    const alice = place.client()
    const [bob, carol] = [new Recipient(place.client({ user: 'bob' })), new Recipient(place.client({ user: 'carol' }))]
    await areOnline(alice, online)
    const acknowledged: string[] = []
    const send = async (text: string) => {
      const states = await alice.send(all, text)
      assert.deepEqual(
        states.map(({ recipient }) => recipient),
        all,
      )
      acknowledged.push(text)
    }
    const sending: Promise<void>[] = []
    for (const text of texts) {
      sending.push(send(text))
      // Messages of one turn would share a request.
      await turn()
    }
    const { code, signal } = await server.ended
    assert.equal(signal, 'SIGKILL', `it ended with ${code}: ${server.stderr}`)
    const stored = await assertAtomic(place, acknowledged, [bob, carol])
    assert.equal(stored.length > 0, stores, `${stored.length} messages were stored`)

    const storage = disk(place.data)
    const restarted = await place.serve({ storage })
    await Promise.all(sending)
    const dave = new Recipient(place.client({ user: 'dave' }))
    // No message overtakes another one in a mailbox: a recipient who has the last message has all of them.
    await alice.send(all, 'last')
    for (const recipient of [bob, carol, dave]) {
      await recipient.got('last')
      assert.deepEqual(recipient.texts, [...texts, 'last'])
    }
    for (const { seq, text, attempt } of dave.handed) {
      const isOld = stored.some((message) => message.seq === seq)
      assert.equal(attempt > 1, isOld, `${text} has attempt ${attempt}`)
    }
    await allTaken(storage)
    await restarted.close()
  }

/**
 * Fails unless each message is stored for all of its recipients or for none, at most once, and each acknowledged
 * message is stored or was delivered. Resolves with the stored messages.
 */
async function assertAtomic(
  place: MortalServer,
  acknowledged: readonly string[],
  listening: readonly Recipient[],
): Promise<readonly Waiting[]> {
  const boxes = await mailboxesIn(place.data, all)
  const stored = boxes.get('dave') ?? []
  const there = stored.map(({ text }) => text)
  assert.deepEqual(there, texts.slice(0, there.length))
  for (const text of acknowledged) assert.ok(there.includes(text), `${text} was acknowledged, and is not there`)
  for (const recipient of listening) {
    const waiting = boxes.get(recipient === listening[0] ? 'bob' : 'carol') ?? []
    const taken = there.length - waiting.length
    assert.deepEqual(waiting, stored.slice(taken))
    assert.deepEqual(recipient.texts.slice(0, taken), there.slice(0, taken))
  }
  return stored
}
