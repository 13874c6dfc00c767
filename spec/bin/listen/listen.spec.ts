import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Message } from 'ospd'
import type { Styles } from '../../../bin/common/text.ts'
import { localTime } from '../../../bin/common/units.ts'
import { messageEvent, messageLine } from '../../../bin/listen/listen.ts'
import { messageOf } from '../../../lib/client/messages/receivedMessage.ts'
import { spec } from '../../support/spec.ts'

const same = (text: string) => text
const plain: Styles = { bold: same, dim: same, red: same, green: same, yellow: same, cyan: same }

function message(content: Uint8Array, more: Partial<Message> = {}): Message {
  const receipt = { id: '00'.repeat(16), seq: 1, sender: 'bob' }
  const unused = () => assert.fail('it cannot be answered')
  const delivered = { receipt, sentAt: 0, attributes: {}, content }
  return { ...messageOf(delivered, 1, unused, unused), ...more }
}

spec('a printed message', (it) => {
  it('has time, sender and text, and a mark if it may have been printed before', () => {
    const hi = new TextEncoder().encode('hi')
    assert.equal(messageLine(message(hi), plain), `${localTime(new Date(0))} bob hi`)
    assert.equal(messageLine(message(hi, { attempt: 2 }), plain), `${localTime(new Date(0))} bob (again?) hi`)
  })

  it('is one line without control characters, whatever the message contains', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.string({ unit: 'binary' }), (content, from) => {
        const line = messageLine(message(content, { from }), plain)
        assert.doesNotMatch(line, /[\p{Cc}\u2028\u2029\u202A-\u202E\u2066-\u2069]/u)
      }),
    )
  })
})

spec('the event of a message', (it) => {
  it('has its content, either as text or in base64', () => {
    const contents = fc.oneof(
      fc.uint8Array({ maxLength: 50 }),
      fc.string({ unit: 'binary' }).map((text) => new TextEncoder().encode(`\uFEFF${text}`)),
    )
    fc.assert(
      fc.property(contents, (bytes) => {
        const event = messageEvent(message(bytes))
        assert.ok(event.event === 'message')
        const { text, content } = event
        assert.ok((text === null) !== (content === null))
        const read = text === null ? Buffer.from(content ?? '', 'base64') : Buffer.from(text)
        assert.ok(read.equals(bytes))
      }),
    )
  })
})

spec('a local time', (it) => {
  it('is the same moment, to the second', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }), (at) => {
        const text = localTime(at)
        assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d$/u)
        assert.equal(Date.parse(text), Math.floor(at.getTime() / 1_000) * 1_000)
      }),
    )
  })

  it('exists for every time that a message can have', () => {
    for (const ms of [0, 8.64e15]) assert.match(localTime(new Date(ms)), /T\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)$/u)
  })
})
