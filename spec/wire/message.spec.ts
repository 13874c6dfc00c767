import assert from 'node:assert/strict'
import fc from 'fast-check'
import { OspError } from '../../lib/errors.ts'
import { ackNameOf, decode, encode, isRequest, nackNameOf, type WireMessage } from '../../lib/wire/message.ts'
import { apps, events } from '../../lib/wire/protocol.ts'
import { concatenated, cut } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'
import { anyMessage, eventNames, messageOf } from './arbitrary.ts'

const malformed = { name: 'OspError', code: 'malformed' }

const frameOf = ({ event }: WireMessage, ...payload: Uint8Array[]) => ({
  event: events[event].number,
  app: apps[events[event].app],
  payload,
})

/** A message in which fields that lie in parts are one piece. */
const whole = (message: WireMessage) =>
  'content' in message ? { ...message, content: concatenated(message.content) } : message

/** Whether an event's payload ends in a field that may be of any length, or absent. */
function openEnded({ event }: WireMessage): boolean {
  const last = Object.values(events[event].fields).at(-1)
  return last !== undefined && /^rest|^optional/u.test(last.form)
}

spec('a message', (it) => {
  for (const event of eventNames) {
    it(`${event} is decoded as it was encoded, however its payload is divided`, () => {
      const lengths = fc.array(fc.nat(40), { minLength: 1, maxLength: 8 })
      const property = fc.property(messageOf(event), lengths, (message, lengths) => {
        const payload = cut(concatenated(encode(message)), lengths)
        assert.deepEqual(whole(decode(frameOf(message, ...payload))), whole(message))
      })
      fc.assert(property)
    })
  }

  it('that ends early is malformed, wherever it ends', () => {
    const property = fc.property(anyMessage, fc.nat(), (message, place) => {
      const payload = concatenated(encode(message))
      fc.pre(payload.length > 0 && !openEnded(message))
      assert.throws(() => decode(frameOf(message, payload.subarray(0, place % payload.length))), malformed)
    })
    fc.assert(property)
  })

  it('can be longer than in this version', () => {
    const property = fc.property(anyMessage, fc.uint8Array(), (message, more) => {
      fc.pre(!openEnded(message))
      assert.deepEqual(decode(frameOf(message, ...encode(message), more)), message)
    })
    fc.assert(property)
  })

  it('of another app is malformed', () => {
    const property = fc.property(anyMessage, fc.nat(0xffff), (message, app) => {
      fc.pre(app !== apps[events[message.event].app])
      assert.throws(() => decode({ ...frameOf(message, ...encode(message)), app }), malformed)
    })
    fc.assert(property)
  })

  it('of an unknown event is malformed', () => {
    const property = fc.property(fc.nat(0xffff), fc.nat(2), (event, app) => {
      fc.pre(!eventNames.some((name) => events[name].number === event))
      assert.throws(() => decode({ event, app, payload: [] }), malformed)
    })
    fc.assert(property)
  })

  it('of random bytes is decoded or malformed', () => {
    const property = fc.property(anyMessage, fc.uint8Array({ maxLength: 200 }), (message, payload) => {
      try {
        assert.equal(decode(frameOf(message, payload)).event, message.event)
      } catch (error) {
        assert.ok(error instanceof OspError)
        assert.equal(error.code, 'malformed')
      }
    })
    fc.assert(property, { numRuns: 2_000 })
  })

  it('of a chunk carries its content without a copy, in both directions', () => {
    const content = [Uint8Array.of(1, 2), Uint8Array.of(3)]
    const payload = encode({ event: 'PostFileReq', progress: 0, content })
    assert.equal(payload[1], content[0])
    assert.equal(payload[2], content[1])
    const read = decode(frameOf({ event: 'PostFileReq', progress: 0, content }, ...payload))
    assert.deepEqual(read, { event: 'PostFileReq', progress: 0, content })
    assert.ok(read.event === 'PostFileReq' && read.content[0]?.buffer === content[0]?.buffer)
  })

  it('that cannot be encoded is rejected before it is sent', () => {
    assert.throws(() => encode({ event: 'PostFileAck', progress: -1, durable: 0 }), RangeError)
    assert.throws(() => encode({ event: 'CancelFileReq', fileName: '\uD800' }), RangeError)
  })
})

spec('the event table', (it) => {
  it('has each number once', () => {
    const numbers = eventNames.map((name) => events[name].number)
    assert.equal(new Set(numbers).size, numbers.length)
  })

  it('has replies of the same app and of the other side for each request', () => {
    const other = { client: 'server', server: 'client', both: 'both' }
    for (const name of eventNames) {
      if (!isRequest(name)) continue
      const [ack, nack] = [ackNameOf(name), nackNameOf(name)]
      assert.equal(events[ack].kind, 'ack')
      for (const reply of [ack, nack]) {
        if (reply === undefined) continue
        assert.equal(events[reply].app, events[name].app)
        assert.equal(events[reply].from, other[events[name].from])
      }
      if (nack) assert.equal(events[nack].kind, 'nack')
    }
  })

  it('has no reply without a request', () => {
    const replies = eventNames.filter(isRequest).flatMap((name) => [ackNameOf(name), nackNameOf(name)])
    for (const name of eventNames) {
      if (events[name].kind === 'ack' || events[name].kind === 'nack')
        assert.ok(
          replies.some((reply) => reply === name),
          name,
        )
    }
  })

  it('has code, retryAfter and text at the start of each refusal', () => {
    for (const name of eventNames) {
      if (events[name].kind === 'nack') {
        assert.deepEqual(Object.keys(events[name].fields).slice(0, 3), ['code', 'retryAfter', 'text'])
      }
    }
  })
})
