import assert from 'node:assert/strict'
import { type SendDecision, SendQueues } from '../../lib/core/sendQueues.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import { chunkFrame, frameFor, pauseFrame, putFrame } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

const ackFrame = (seq: number) => frameFor({ event: 'PingAck', listVersion: 1 }, seq)
const always = (): SendDecision => 'now'

/** Takes what may be sent; nothing leaves meanwhile. */
function taken(lanes: SendQueues, turn: (frame: Frame) => SendDecision = always): number[] {
  const seqs: number[] = []
  for (let next = lanes.next(turn); next; next = lanes.next(turn)) seqs.push(next.frame.seq)
  return seqs
}

spec('send queues', (it) => {
  it('let replies overtake requests, and both overtake chunks', () => {
    const lanes = new SendQueues()
    lanes.add('chunks', chunkFrame(1))
    lanes.add('requests', pauseFrame(2))
    lanes.add('replies', ackFrame(3))
    lanes.add('replies', ackFrame(4))
    assert.deepEqual(taken(lanes), [3, 4, 2, 1])
  })

  it('keep the order within a queue, also of requests after chunks', () => {
    const lanes = new SendQueues()
    lanes.add('chunks', chunkFrame(1))
    lanes.add('chunks', pauseFrame(2))
    lanes.add('requests', pauseFrame(3))
    lanes.add('requests', pauseFrame(4))
    assert.deepEqual(taken(lanes), [3, 4, 1, 2])
  })

  it('have at most two chunks in the socket', () => {
    const lanes = new SendQueues()
    const left: number[] = []
    for (const seq of [1, 2, 3, 4]) lanes.add('chunks', chunkFrame(seq), () => left.push(seq))
    const first = lanes.next(always)
    assert.deepEqual(taken(lanes), [2])
    lanes.add('requests', pauseFrame(5))
    assert.deepEqual(taken(lanes), [5])
    first?.onFlushed?.()
    assert.deepEqual([left, taken(lanes)], [[1], [3]])
  })

  it('have as many files in one request in the socket as two chunks weigh, of which larger ones are a whole chunk', () => {
    for (const [bytes, most] of [
      [300, 175],
      [16 * 1_024, 4],
      [32 * 1_024, 2],
      [256 * 1_024, 2],
    ] as const) {
      const lanes = new SendQueues()
      const seqs = Array.from({ length: most + 10 }, (_, at) => at + 1)
      for (const seq of seqs) lanes.add('chunks', putFrame(seq, bytes))
      const first = lanes.next(always)
      assert.deepEqual(taken(lanes), seqs.slice(1, most), `${bytes}`)
      first?.onFlushed?.()
      assert.deepEqual(taken(lanes), [most + 1])
    }
  })

  it('share the places of chunks among chunks and files in one request, and free them exactly', () => {
    const lanes = new SendQueues()
    lanes.add('chunks', chunkFrame(1))
    const first = lanes.next(always)
    for (let seq = 2; seq <= 500; seq++) lanes.add('chunks', putFrame(seq, 300 + seq))
    const handed: ReturnType<SendQueues['next']>[] = [first]
    while (handed.length > 0) {
      for (let next = lanes.next(always); next; next = lanes.next(always)) handed.push(next)
      handed.shift()?.onFlushed?.()
    }
    for (const seq of [501, 502, 503]) lanes.add('chunks', chunkFrame(seq))
    assert.deepEqual(taken(lanes), [501, 502])
  })

  it('are blocked separately by a deferred frame', () => {
    const lanes = new SendQueues()
    for (const seq of [1, 2]) lanes.add('requests', pauseFrame(seq))
    for (const seq of [3, 4]) lanes.add('chunks', chunkFrame(seq))
    lanes.add('replies', ackFrame(5))
    assert.deepEqual(
      taken(lanes, ({ seq }) => (seq === 1 ? 'later' : 'now')),
      [5, 3, 4],
    )
    assert.deepEqual(taken(lanes), [1, 2])
  })

  it('drop frames that need not be sent, which do not count as chunks in the socket', () => {
    const lanes = new SendQueues()
    for (const seq of [1, 2, 3, 4, 5]) lanes.add('chunks', chunkFrame(seq))
    for (const seq of [6, 7]) lanes.add('requests', pauseFrame(seq))
    lanes.add('replies', pauseFrame(8))
    const odd = ({ seq }: Frame): SendDecision => (seq % 2 === 1 ? 'now' : 'never')
    assert.deepEqual(taken(lanes, odd), [7, 1, 3])
    assert.equal(lanes.smallBytes, 0)
  })

  it('count the bytes of the waiting small frames', () => {
    const lanes = new SendQueues()
    lanes.add('chunks', chunkFrame(1, 1_000))
    assert.equal(lanes.smallBytes, 0)
    lanes.add('replies', ackFrame(2))
    lanes.add('requests', pauseFrame(3))
    assert.equal(lanes.smallBytes, 24 + 20)
    lanes.next(always)
    assert.equal(lanes.smallBytes, 20)
  })
})
