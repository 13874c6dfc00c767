import assert from 'node:assert/strict'
import type { BoundClientOptions, Client } from '../../../lib/client/client.ts'
import { memoryState } from '../../../lib/client/runningClient.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { events } from '../../../lib/wire/protocol.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { turns } from '../../support/turns.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

/** A client of `user`. */
const clientOf = (rig: UploadRig, user: string, options: Partial<BoundClientOptions> = {}) =>
  rig.client({ user, ...options })

/** Starts a client that listens, and waits until `other` has it in its presence list. Returns the texts that it receives. */
async function listener(rig: UploadRig, user: string, other: Client, options: Partial<BoundClientOptions> = {}) {
  const client = clientOf(rig, user, options)
  const texts: string[] = []
  client.receive((message) => void texts.push(message.text()))
  await other.presence.ready()
  await until(other.presence, 'change', () => other.presence.has(user))
  return { client, texts }
}

spec('messages between clients', (it) => {
  it('arrive at users who listen, and wait for the others', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const bob = await listener(rig, 'bob', alice)
    assert.deepEqual(await alice.send(['bob', 'carol'], 'hi'), [
      { recipient: 'bob', status: 'online' },
      { recipient: 'carol', status: 'stored' },
    ])
    await turns(() => bob.texts.length === 1)
    const carol = clientOf(rig, 'carol').messages()
    const { value } = await carol.next()
    assert.deepEqual([value?.from, value?.text(), value?.attempt], ['alice', 'hi', 1])
  })

  it('are rejected with the refusal of the server', async () => {
    const authenticator = {
      authenticate: async ({ user }: { user: string }) => ({ user }),
      knows: async (user: string) => user !== 'mallory',
    }
    await using rig = await UploadRig.start({}, { authenticator })
    const sending = clientOf(rig, 'alice').send(['bob', 'mallory'], 'hi')
    await assert.rejects(sending, { code: 'unknown-user', recipients: ['mallory'] })
  })

  it('arrive once and in order, although links are cut repeatedly and the server is restarted', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const bob = await listener(rig, 'bob', alice)
    let acks = 0
    rig.transport.inspect = ({ event }) => event !== events.DeliverMsgAck.number || ++acks % 13 !== 0
    const texts = Array.from({ length: 300 }, (_, n) => `${n}`)
    const sendings = texts.map((text) => alice.send(['bob'], text))
    for (let come = 20; come < texts.length; come += 20) {
      await turns(() => bob.texts.length >= come)
      rig.transport.cut()
      if (come === 100) await rig.server.close()
      if (come === 100) await rig.startServer()
    }
    await Promise.all(sendings)
    await turns(() => bob.texts.length >= texts.length)
    assert.deepEqual(bob.texts, texts)
  })

  it('are not handed over again to the next program with the same state', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const state = memoryState()
    const bob = await listener(rig, 'bob', alice, { state })
    // Its acknowledgement is lost together with the program.
    rig.transport.inspect = ({ event }) => event !== events.DeliverMsgAck.number
    await alice.send(['bob'], 'first')
    await turns(() => bob.texts.length === 1)
    await bob.client.close()
    rig.transport.inspect = () => true
    await alice.send(['bob'], 'second')
    const next = await clientOf(rig, 'bob', { state }).messages().next()
    assert.equal(next.value?.text(), 'second')
  })

  it('arrive once and in order at receivers that take one message each, although the others are sent again for each receiver', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const bob = clientOf(rig, 'bob')
    const sent = Array.from({ length: 100 }, (_, n) => `${n}`)
    await Promise.all(sent.map((text) => alice.send(['bob'], text)))
    const texts: string[] = []
    while (texts.length < sent.length) {
      const come = deferred<void>()
      const receiver = bob.receive((message) => {
        texts.push(message.text())
        void receiver[Symbol.asyncDispose]().then(come.resolve)
      })
      await come.promise
    }
    assert.deepEqual(texts, sent)
  })

  it('wait for a slow handler, up to one window of them at the client', async () => {
    await using rig = await UploadRig.start({ deliveryWindow: 4 })
    const alice = clientOf(rig, 'alice')
    const bob = clientOf(rig, 'bob')
    const slow = deferred<void>()
    const texts: string[] = []
    bob.receive(async (message) => {
      await slow.promise
      texts.push(message.text())
    })
    const sent = Array.from({ length: 50 }, (_, n) => `${n}`)
    await Promise.all(sent.map((text) => alice.send(['bob'], text)))
    slow.resolve()
    await turns(() => texts.length === sent.length)
    assert.deepEqual(texts, sent)
  })

  it('go to the program that has begun to listen last, while the other one continues its uploads', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const bob = await listener(rig, 'bob', alice)
    const upload = await bob.client.upload(memorySource('a', patterned(9)))
    const nodeOf = () => [...alice.presence].find(({ user }) => user === 'bob')?.node
    const former = nodeOf()
    const other = clientOf(rig, 'bob').messages()
    await until(alice.presence, 'change', () => ![undefined, former].includes(nodeOf()))
    await alice.send(['bob'], 'hi')
    assert.equal((await other.next()).value?.text(), 'hi')
    assert.equal((await upload.done).name, 'a')
    assert.throws(() => bob.client.messages(), /already|superseded|another/u)
  })
})

spec('the presence list of clients', (it) => {
  it('reports users who come and go', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    const changes: string[] = []
    alice.presence.on('change', ({ user }, change) => changes.push(`${user} ${change}`))
    const bob = await listener(rig, 'bob', alice)
    await bob.client.close()
    await until(alice.presence, 'change', () => !alice.presence.has('bob'))
    assert.deepEqual(changes, ['bob here', 'bob gone'])
  })

  it('has a client only while it receives', async () => {
    await using rig = await UploadRig.start()
    const alice = clientOf(rig, 'alice')
    await alice.presence.ready()
    assert.deepEqual([...alice.presence], [])
    const receiver = alice.receive(() => {})
    await until(alice.presence, 'change', () => alice.presence.has('alice'))
    await receiver[Symbol.asyncDispose]()
    await until(alice.presence, 'change', () => !alice.presence.has('alice'))
  })
})
