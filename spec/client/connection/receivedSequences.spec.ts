import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ReceivedSequences } from '../../../lib/client/connection/receivedSequences.ts'
import { fixed } from '../../../lib/limits.ts'
import type { WireMessage } from '../../../lib/wire/message.ts'
import { events } from '../../../lib/wire/protocol.ts'
import { delivery, type ScriptedLink, ScriptedServer } from '../../support/scriptedServer.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'

/** A client that listens on links that lose and reorder frames, and the messages that it has handed over. */
async function lossy(window = 32) {
  const server = new ScriptedServer({ reliable: false })
  const client = server.client()
  const came: number[] = []
  const receiver = client.receive(({ seq }) => void came.push(seq))
  const link = await server.listening({ window })
  return { server, client, receiver, came, link, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() }
}

const seqsOf = (link: ScriptedLink) =>
  link.socket.messages.flatMap((message) => (message.event === 'DeliverMsgAck' ? [message.mailboxSeq] : []))

spec('messages on a link that loses and reorders frames', (it) => {
  it('are handed over in the order in which they were sent, whichever arrives first', async () => {
    await using rig = await lossy()
    rig.link.ask(delivery(30), 3)
    rig.link.ask(delivery(20), 2)
    await turn()
    assert.deepEqual(rig.came, [])
    rig.link.ask(delivery(10), 1)
    await rig.server.pass(0)
    assert.deepEqual(rig.came, [10, 20, 30])
    assert.deepEqual(seqsOf(rig.link), [10, 20, 30])
  })

  it('wait for an earlier ping, because it could be a message', async () => {
    await using rig = await lossy()
    rig.link.ask(delivery(10), 2)
    await turn()
    assert.deepEqual(rig.came, [])
    rig.link.ask({ event: 'PingReq' }, 1)
    await turn()
    assert.deepEqual(rig.came, [10])
  })

  it('do not wait for a request that cannot arrive any more, as the number of a later request shows', async () => {
    await using rig = await lossy()
    rig.link.ask(delivery(10), 2)
    await turn()
    rig.link.ask({ event: 'PingReq' }, fixed.replies + 1)
    await turn()
    assert.deepEqual(rig.came, [10])
  })

  it('are handed over once, however often they arrive', async () => {
    await using rig = await lossy()
    for (const seq of [2, 2, 1, 1, 2]) rig.link.ask(delivery(seq * 10), seq)
    await turn()
    assert.deepEqual(rig.came, [10, 20])
  })

  it('of a listener that begins again arrive on a new link, because some former requests may be lost', async () => {
    await using rig = await lossy()
    rig.link.ask(delivery(20), 2)
    await rig.receiver[Symbol.asyncDispose]()
    await rig.link.register(0)
    rig.client.receive(({ seq }) => void rig.came.push(seq))
    await rig.link.dismissed('shutting-down')
    const next = await rig.server.listening()
    next.ask(delivery(10))
    next.ask(delivery(20))
    await turn()
    assert.deepEqual(rig.came, [10, 20])
  })

  it('keep the order of the mailbox for any order of arrival', async () => {
    const requests = fc
      .array(fc.boolean(), { minLength: 1, maxLength: 30 })
      .chain((pings) =>
        fc.tuple(fc.constant(pings), fc.shuffledSubarray([...pings.keys()], { minLength: pings.length })),
      )
    await fc.assert(
      fc.asyncProperty(requests, async ([pings, order]) => {
        await using rig = await lossy()
        const messages: WireMessage<'PingReq' | 'DeliverMsgReq'>[] = pings.map((ping, at) =>
          ping ? { event: 'PingReq' } : delivery(at * 10),
        )
        for (const at of order) {
          rig.link.ask(messages[at] as WireMessage<'PingReq' | 'DeliverMsgReq'>, at + 1)
          if (at % 3 === 0) await turn()
        }
        await turn()
        assert.deepEqual(
          rig.came,
          [...pings.keys()].filter((at) => !pings[at]).map((at) => at * 10),
        )
      }),
      { numRuns: 30 },
    )
  })
})

spec('the received requests', (it) => {
  const event = events.PingReq.number

  it('are complete up to the first missing one', () => {
    const arrivals = new ReceivedSequences()
    for (const [seq, complete] of [
      [2, 0],
      [1, 2],
      [1, 2],
      [5, 2],
      [4, 2],
      [3, 5],
    ] as const) {
      arrivals.take({ event, seq })
      assert.equal(arrivals.complete, complete)
    }
  })

  it('are complete up to the highest one that must be answered before a later one is sent, and take bounded memory', () => {
    const arrivals = new ReceivedSequences()
    for (let seq = 2; seq <= 10_000; seq++) arrivals.take({ event, seq })
    assert.equal(arrivals.complete, 10_000)
    arrivals.take({ event, seq: 0xffff_ffff })
    assert.equal(arrivals.complete, 0xffff_ffff - fixed.replies)
  })
})
