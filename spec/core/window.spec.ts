import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Span, Window } from '../../lib/core/window.ts'
import { spec } from '../support/spec.ts'

/** Takes spans of at most `mostBytes` until there is none, each sent under the next seq from `first` on. */
function sendAll(window: Window, mostBytes: number, first = 1): (Span & { seq: number })[] {
  const sent: (Span & { seq: number })[] = []
  for (let span = window.take(mostBytes); span; span = window.take(mostBytes)) {
    const seq = first + sent.length
    window.sent(seq)
    sent.push({ ...span, seq })
  }
  return sent
}

const offsets = (spans: readonly Span[]) => spans.map(({ offset, length }) => [offset, length])
const span = (offset: number, length: number): Span => ({ offset, length })

spec('a window', (it) => {
  it('divides the rest of the file into spans, from the progress on', () => {
    const window = new Window(25, 5, 1_000)
    assert.deepEqual(offsets(sendAll(window, 8)), [
      [5, 8],
      [13, 8],
      [21, 4],
    ])
    assert.deepEqual([window.taken, window.acknowledged], [25, 5])
  })

  it('has no span for an empty or complete file', () => {
    assert.equal(new Window(0, 0, 100).take(10), undefined)
    assert.equal(new Window(9, 9, 100).take(10), undefined)
  })

  it('never has more than its bytes in flight, and waits until a whole span fits', () => {
    const window = new Window(1_000, 0, 25)
    assert.deepEqual(offsets(sendAll(window, 10)), [
      [0, 10],
      [10, 10],
    ])
    window.reply(1, span(0, 10), 10)
    assert.deepEqual(offsets(sendAll(window, 10, 3)), [[20, 10]])
  })

  it('returns spans even if it is smaller than a chunk', () => {
    const window = new Window(20, 0, 8)
    assert.deepEqual(offsets(sendAll(window, 1_000)), [[0, 8]])
    window.reply(1, span(0, 8), 8)
    assert.deepEqual(offsets(sendAll(window, 1_000, 2)), [[8, 8]])
    window.reply(2, span(8, 8), 16)
    assert.deepEqual(offsets(sendAll(window, 1_000, 3)), [[16, 4]])
  })

  it('goes back if the progress shows that a chunk was not accepted', () => {
    const window = new Window(40, 0, 100)
    sendAll(window, 10)
    window.reply(1, span(0, 10), 10)
    assert.equal(window.round, 0)
    window.reply(3, span(20, 10), 10)
    assert.deepEqual([window.acknowledged, window.taken, window.round], [10, 10, 1])
    assert.deepEqual(offsets(sendAll(window, 20, 5)), [
      [10, 20],
      [30, 10],
    ])
  })

  it('goes back once: replies to earlier chunks are ignored', () => {
    const window = new Window(40, 0, 100)
    sendAll(window, 10)
    window.reply(2, span(10, 10), 0)
    window.reply(3, span(20, 10), 0)
    window.reply(4, span(30, 10), 40)
    assert.deepEqual([window.acknowledged, window.round], [0, 1])
    sendAll(window, 40, 5)
    window.reply(5, span(0, 40), 40)
    assert.deepEqual([window.acknowledged, window.taken], [40, 40])
  })

  it('ignores a reply that arrives after one to a later chunk', () => {
    const window = new Window(40, 0, 100)
    sendAll(window, 10)
    window.reply(3, span(20, 10), 30)
    window.reply(1, span(0, 10), 10)
    window.reply(3, span(20, 10), 0)
    assert.deepEqual([window.acknowledged, window.round], [30, 0])
  })

  it('skips the bytes that the server already has', () => {
    const window = new Window(40, 0, 10)
    window.take(10)
    window.sent(1)
    window.reply(1, span(0, 10), 30)
    assert.deepEqual(offsets(sendAll(window, 10, 2)), [[30, 10]])
  })

  it('goes back before acknowledged bytes if the server has found damage', () => {
    const window = new Window(40, 0, 100)
    sendAll(window, 10)
    window.reply(1, span(0, 10), 10)
    window.reply(2, span(10, 10), 0)
    assert.deepEqual([window.acknowledged, window.taken], [0, 0])
  })

  it('goes back if a request after the chunks is refused', () => {
    const window = new Window(20, 0, 100)
    sendAll(window, 10)
    window.sent(3)
    window.goBack(10)
    window.reply(2, span(10, 10), 20)
    assert.deepEqual([window.acknowledged, window.taken, window.round], [10, 10, 1])
  })

  it('rejects a progress beyond the end as malformed, and does not change', () => {
    assert.throws(() => new Window(10, 11, 100), { code: 'malformed' })
    const window = new Window(10, 0, 100)
    sendAll(window, 10)
    assert.throws(() => window.reply(1, span(0, 10), 11), { code: 'malformed' })
    assert.throws(() => window.goBack(11), { code: 'malformed' })
    assert.deepEqual([window.acknowledged, window.taken, window.round], [0, 10, 0])
  })
})

/** Chunks that are at the progress count; everything else learns the true one. */
class Receiver {
  progress = 0
  /** How often each byte was written. */
  readonly written: number[] = []

  take({ offset, length }: Span): number {
    if (offset === this.progress) {
      for (let at = offset; at < offset + length; at++) this.written[at] = (this.written[at] ?? 0) + 1
      this.progress += length
    }
    return this.progress
  }
}

interface Sent extends Span {
  readonly seq: number
}

/** Any one of them, by chance. */
function pick<T>(from: T[], choice: number): T | undefined {
  return from.splice(choice % Math.max(1, from.length), 1)[0]
}

spec('a window and a receiver', (it) => {
  it('transfer every byte once and in order, although chunks and replies are reordered and repeated', () => {
    const sizes = fc.record({ size: fc.nat(300), window: fc.integer({ min: 1, max: 80 }) })
    const choices = fc.infiniteStream(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 100 })))
    const property = fc.property(sizes, choices, ({ size, window: windowBytes }, stream) => {
      const window = new Window(size, 0, windowBytes)
      const receiver = new Receiver()
      const onTheWay: Sent[] = []
      const replies: (Sent & { progress: number })[] = []
      let seq = 0
      for (const [choice, mostBytes] of stream) {
        if (choice % 3 === 0) send(mostBytes)
        else if (choice % 3 === 1) arrive(choice >> 2)
        else reply(choice >> 2)
        if (window.acknowledged === size && onTheWay.length === 0 && replies.length === 0) break
        assert.ok(seq < 100_000, 'it never ends')
      }
      assert.equal(receiver.progress, size)
      assert.deepEqual(receiver.written, new Array(size).fill(1))

      function send(mostBytes: number): void {
        const taken = window.take(mostBytes)
        if (!taken) return
        assert.ok(taken.length > 0 && taken.length <= mostBytes)
        assert.ok(taken.offset + taken.length - window.acknowledged <= windowBytes)
        window.sent(++seq)
        onTheWay.push({ ...taken, seq })
      }

      /** A chunk arrives; every fifth one will do so again, as one that was repeated does. */
      function arrive(choice: number): void {
        const chunk = pick(onTheWay, choice)
        if (!chunk) return
        if (choice % 5 === 0) onTheWay.push(chunk)
        replies.push({ ...chunk, progress: receiver.take(chunk) })
      }

      function reply(choice: number): void {
        const told = pick(replies, choice)
        if (told) window.reply(told.seq, told, told.progress)
      }
    })
    fc.assert(property, { numRuns: 200 })
  })
})
