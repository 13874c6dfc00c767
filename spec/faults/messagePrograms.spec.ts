import assert from 'node:assert/strict'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import type { Storage } from '../../lib/ports/storage.ts'
import { type MessagingOrders, startMessagingProcess } from '../support/messagingProcesses.ts'
import { MortalServer } from '../support/mortalServer.ts'
import { allTaken, areOnline, Recipient } from '../support/recipients.ts'
import { spec } from '../support/spec.ts'

interface Ground extends AsyncDisposable {
  readonly place: MortalServer
  readonly storage: Storage
  readonly port: number
  /** The state directory of bob. */
  readonly state: string
}

async function ground(): Promise<Ground> {
  const place = await MortalServer.in()
  const storage = disk(place.data)
  const { addresses } = await place.serve({ storage })
  const port = addresses[0]?.port ?? 0
  const state = join(place.data, '../state')
  return { place, storage, port, state, [Symbol.asyncDispose]: () => place[Symbol.asyncDispose]() }
}

const texts = ['1', '2', '3', '4', '5', '6']
const sends = texts.map((text) => ({ id: text.padStart(32, '0'), recipients: ['bob', 'carol'], text }))

const sendsAgain = (dies: MessagingOrders['dies']) => async (): Promise<void> => {
  await using on = await ground()
  const { place, port, storage } = on
  const bob = new Recipient(place.client({ user: 'bob' }))
  await areOnline(bob.client, ['bob'])
  const orders = { port, user: 'alice', sends }
  await using first = startMessagingProcess({ ...orders, ...(dies ? { dies } : {}) })
  const { signal } = await first.ended
  assert.equal(signal, 'SIGKILL', first.stderr)
  assert.doesNotMatch(first.stdout, /acknowledged/u)
  await using again = startMessagingProcess(orders)
  for (const text of texts) await again.printed(new RegExp(`^acknowledged ${text}$`, 'mu'))
  const carol = new Recipient(place.client({ user: 'carol' }))
  await place.client().send(['bob', 'carol'], 'last')
  for (const recipient of [bob, carol]) {
    await recipient.got('last')
    assert.deepEqual(recipient.texts, [...texts, 'last'])
  }
  await allTaken(storage)
}

spec('messages of a program that is killed while it sends, and restarted, are delivered once', (it) => {
  it('if it has sent them', sendsAgain({ at: 'PostMsgReq', when: 'sent' }))
  it(
    'if they are acknowledged, and it has not received the acknowledgement',
    sendsAgain({ at: 'PostMsgAck', when: 'coming' }),
  )
})

const seqsOf = (handed: readonly { seq: number }[]) => handed.map(({ seq }) => seq)

spec('a listening program that is killed and restarted with its state', (it) => {
  it('in its handler receives that message again, marked, and all following ones in order', async () => {
    await using on = await ground()
    const { place, storage, port, state } = on
    const alice = place.client()
    const orders = { port, user: 'bob', state, listens: true }
    await using first = startMessagingProcess({ ...orders, holds: '3' })
    for (const text of texts) await alice.send(['bob'], text)
    await first.got('3')
    await first.kill()
    await alice.send(['bob'], 'later')
    await using again = startMessagingProcess(orders)
    await again.got('later')
    const both = [first.handed, again.handed]
    assert.deepEqual(
      both.map((handed) => handed.map(({ text }) => text)),
      [
        ['1', '2', '3'],
        ['3', '4', '5', '6', 'later'],
      ],
    )
    const rising = seqsOf(both.flat())
    assert.deepEqual(
      rising,
      rising.toSorted((a, b) => a - b),
    )
    assert.equal(first.handed[2]?.seq, again.handed[0]?.seq)
    assert.ok((again.handed[0]?.attempt ?? 0) > 1)
    await allTaken(storage)
  })

  it('while it acknowledges messages does not receive those messages again', async () => {
    await using on = await ground()
    const { place, storage, port, state } = on
    const alice = place.client()
    const orders = { port, user: 'bob', state, listens: true }
    for (const text of texts) await alice.send(['bob'], text)
    await using first = startMessagingProcess({ ...orders, dies: { at: 'DeliverMsgAck', when: 'sending' } })
    const { signal } = await first.ended
    assert.equal(signal, 'SIGKILL', first.stderr)
    await alice.send(['bob'], 'later')
    await using again = startMessagingProcess(orders)
    await again.got('later')
    assert.deepEqual(
      [first, again].map(({ handed }) => handed.map(({ text }) => text)),
      [texts, ['later']],
    )
    await allTaken(storage)
  })
})
