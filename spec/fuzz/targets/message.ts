import assert from 'node:assert/strict'
import { decode, encode, type WireMessage } from '../../../lib/wire/message.ts'
import { apps, events } from '../../../lib/wire/protocol.ts'
import { borderMessage, eventNames } from '../borders.ts'
import { assertCoded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { cutUp, mutated } from '../mutate.ts'
import { type Pieces, plainTarget } from '../target.ts'

/** An arbitrary payload of any event: a message that encodes to the same bytes, or `malformed`. */
export const messageTarget = plainTarget({ make, run })

/** The first piece is the event and the app, both u16; the others are the parts of the payload. */
function make(draw: Draw): Pieces {
  const event = draw.pick(eventNames)
  const { number, app } = events[event]
  const head = Buffer.alloc(4)
  head.writeUInt16BE(draw.once(20) ? draw.below(0x1_0000) : number)
  head.writeUInt16BE(draw.once(20) ? draw.below(4) : apps[app], 2)
  const payload = Buffer.concat(encode(borderMessage(event, draw)))
  const changed = draw.pick([() => payload, () => mutated(payload, draw), () => draw.bytes(draw.below(60))])()
  return [head, ...cutUp(changed, draw, draw.pick([1, 10, 100_000]))]
}

function run([head = new Uint8Array(0), ...payload]: Pieces): void {
  const [a = 0, b = 0, c = 0, d = 0] = head
  const frame = { event: a * 256 + b, app: c * 256 + d, payload }
  const message = read(frame)
  if (!message) return
  // Bytes after the fields are ignored.
  const again = Buffer.concat(encode(message))
  // A size too large for exact numbers is decoded as the smallest such size.
  if ('size' in message && message.size > Number.MAX_SAFE_INTEGER) {
    assert.deepEqual(read({ ...frame, payload: [again] }), message)
    return
  }
  assert.deepEqual(again, Buffer.concat(payload).subarray(0, again.length))
}

function read(frame: Parameters<typeof decode>[0]): WireMessage | undefined {
  try {
    return decode(frame)
  } catch (error) {
    assertCoded(error, 'malformed')
    return undefined
  }
}
