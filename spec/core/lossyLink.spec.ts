import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Request } from '../../lib/core/link.ts'
import type { WireMessage } from '../../lib/wire/message.ts'
import { spec } from '../support/spec.ts'
import { type End, LossyPair } from './lossyPair.ts'

function answer({ message, seq }: Request): WireMessage {
  if (message.event === 'PostFileReq') return { event: 'PostFileAck', progress: seq, durable: 0 }
  if (message.event === 'PauseFileReq') return { event: 'PauseFileAck', progress: seq, durable: seq }
  if (message.event === 'DeliverMsgReq') return { event: 'DeliverMsgAck', mailboxSeq: seq, rejected: [] }
  return assert.fail(`${message.event} was never asked`)
}

const delivery = {
  event: 'DeliverMsgReq',
  attempt: 1,
  messages: [{ messageId: new Uint8Array(16), mailboxSeq: 1, sender: 'a', sentAt: 0, body: new Uint8Array(3) }],
} as const

/** Deliveries that a server may leave unanswered. */
const window = 256

/** Asks `count` REQs in each direction, deliveries up to their window; every third of the client's is a chunk. Returns the contexts. */
function ask(pair: LossyPair, count: number): number[] {
  const contexts = Array.from({ length: count }, (_, at) => at)
  for (const context of contexts) {
    if (context % 3 === 0) {
      pair.client.link.request({ event: 'PostFileReq', progress: 0, content: [] }, 1, context, 'chunks')
    } else pair.client.link.request({ event: 'PauseFileReq' }, 1, context)
    if (context < window) repeatInTime(pair, pair.server.link.request(delivery, 0, context), context, 2)
  }
  pair.pump()
  return contexts
}

/** No link repeats a delivery by itself: its sender does. */
function repeatInTime(pair: LossyPair, seq: number, context: number, attempt: number): void {
  pair.clock.alarm(pair.clock.now() + 10_000, () => {
    if (pair.server.dead || pair.server.replied.includes(context)) return
    pair.server.link.repeat(seq, { ...delivery, attempt }, 0)
    pair.pump()
    repeatInTime(pair, seq, context, Math.min(attempt + 1, 255))
  })
}

function holds({ client, server }: LossyPair, contexts: readonly number[]): void {
  const once = (numbers: readonly number[]) => assert.equal(new Set(numbers).size, numbers.length, 'one came twice')
  for (const end of [client, server]) {
    once(end.carriedOut)
    once(end.replied)
    assert.ok(!end.link || end.replied.every((context) => contexts.includes(context)))
  }
}

const answered = (end: End, count: number) => end.replied.length === count

const weather = fc.record({
  seed: fc.nat(),
  loss: fc.double({ min: 0, max: 0.25, noNaN: true }),
  repeat: fc.double({ min: 0, max: 0.3, noNaN: true }),
  delayMs: fc.nat(1_000),
  workMs: fc.nat(5_000),
})

spec('two links on a network that loses, repeats and reorders frames', (it) => {
  it('carry out every request at most once, and return one reply, unless the link dies', () => {
    let [lived, died] = [0, 0]
    const property = fc.property(weather, fc.integer({ min: 1, max: 60 }), (outside, count) => {
      const pair = new LossyPair(outside, answer)
      const contexts = ask(pair, count)
      pair.clock.pass(5 * 60_000)
      holds(pair, contexts)
      const { client, server } = pair
      if (client.dead || server.dead) died++
      else {
        lived++
        for (const end of [client, server]) assert.ok(answered(end, count), `${end.replied.length} of ${count}`)
      }
    })
    fc.assert(property, { numRuns: 60 })
    assert.ok(lived > died, `${lived} lived, ${died} died`)
  })

  it('do so with more requests than can be unanswered', () => {
    const pair = new LossyPair({ seed: 5, loss: 0.2, repeat: 0.1, delayMs: 300, workMs: 2_000 }, answer)
    const contexts = ask(pair, 3_000)
    pair.clock.pass(30 * 60_000)
    holds(pair, contexts)
    assert.deepEqual(
      [answered(pair.client, 3_000), answered(pair.server, window), pair.client.dead, pair.server.dead],
      [true, true, undefined, undefined],
    )
  })

  it('die on both sides if nothing arrives', () => {
    const pair = new LossyPair({ seed: 1, loss: 1, repeat: 0, delayMs: 10, workMs: 10 }, answer)
    ask(pair, 1)
    pair.clock.pass(60_000)
    assert.deepEqual([pair.client.dead?.code, pair.server.dead?.code], ['timed-out', 'timed-out'])
    assert.deepEqual(pair.clock.set, [])
  })

  it('survive silence', () => {
    const pair = new LossyPair({ seed: 3, loss: 0.1, repeat: 0.1, delayMs: 100, workMs: 10 }, answer)
    pair.clock.pass(3_600_000)
    assert.deepEqual([pair.client.dead, pair.server.dead], [undefined, undefined])
  })
})
