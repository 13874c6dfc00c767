import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type ErrorCode, errors, OspError } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import { errorOf, goodbyeOf, nackOf, refusalFields } from '../../lib/runtime/refusal.ts'
import { lengthOf, type Parts } from '../../lib/wire/codec.ts'
import { decode, encode, type NackName, type RequestName, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import { frameFor } from '../support/frames.ts'
import { spec } from '../support/spec.ts'

/** The NACK of `event` as it arrives. */
function nack(event: RequestName, why: OspError): WireMessage<NackName> {
  const told = nackOf(event, why) ?? assert.fail(`${event} has no NACK`)
  return decode(frameFor(told, 1)) as WireMessage<NackName>
}

const requests = (Object.keys(events) as (keyof typeof events)[]).filter((name) => events[name].kind === 'request')
const utf8 = new TextDecoder('utf-8', { fatal: true })

function textIn(payload: Parts): string {
  return utf8.decode(Buffer.concat(payload).subarray(8))
}

spec('a refusal', (it) => {
  it('is decoded as the same error', () => {
    const why = new OspError('wrong-offset', 'stand at 7', { progress: 7, retryAfterMs: 1_500 })
    const back = errorOf(nack('FileMd5Req', why))
    assert.deepEqual(
      [back.code, back.message, back.progress, back.retryAfterMs, back.retry],
      ['wrong-offset', 'stand at 7', 7, 1_500, 'automatic'],
    )
  })

  it('of a message names the recipients', () => {
    const refusal = { ...refusalFields(new OspError('mailbox-full')), recipients: ['anna'] }
    assert.deepEqual(errorOf(refusal).recipients, ['anna'])
  })

  it('has no progress and no recipients if its NACK has none', () => {
    const back = errorOf(nack('PauseFileReq', new OspError('instance-lost', undefined, { progress: 7 })))
    assert.deepEqual([back.progress, back.recipients], [undefined, undefined])
  })

  it('has the text of its code if it has no text', () => {
    const back = errorOf({ code: 11, retryAfter: 0, text: '' })
    assert.equal(back.message, errors['instance-lost'].text)
  })

  it('exists for every request with a NACK', () => {
    const without = requests.filter((name) => nackOf(name as RequestName, new OspError('internal')) === undefined)
    assert.deepEqual(without, ['DeliverMsgReq', 'ListReq', 'PingReq'])
  })

  it('fits into the smallest frame and is well-formed, whatever its text and time', () => {
    const codes = fc.constantFrom(...(Object.keys(errors) as ErrorCode[]))
    const texts = fc.oneof(
      fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)) }),
      fc.constantFrom('\ud83d\ude00'.repeat(2_000), 'x\ud83d\ude00'.repeat(2_000), '\udc00'.repeat(5_000)),
    )
    const waits = fc.oneof(fc.double({ noNaN: true }), fc.constantFrom(Number.POSITIVE_INFINITY, -1, 2 ** 40))
    const property = fc.property(codes, texts, waits, (code, text, retryAfterMs) => {
      const payload = encode(goodbyeOf(new OspError(code, text, { retryAfterMs })))
      assert.ok(lengthOf(payload) <= fixed.helloFrameBytes)
      textIn(payload)
    })
    fc.assert(property)
  })

  it('hides codes that are never sent', () => {
    assert.equal(goodbyeOf(new OspError('data-locked')).code, errors.internal.number)
  })

  it('rounds the time up', () => {
    assert.equal(goodbyeOf(new OspError('rate-limited', 'x', { retryAfterMs: 0.1 })).retryAfter, 1)
  })
})
