import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { encodeFrame, FrameReader } from '../../lib/wire/frame.ts'
import { decode, encode } from '../../lib/wire/message.ts'
import { apps, events, version } from '../../lib/wire/protocol.ts'
import { concatenated, hex } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'
import { vectors } from './golden.ts'

/** The header of a golden frame, read from its digits alone. */
function headerOf(frame: string) {
  const [, version, flags, event, seq, app, instance] = frame.split(' ').map((field) => Number.parseInt(field, 16))
  return { version, flags, event, seq, app, instance }
}

spec('the golden frames', (it) => {
  it('include every event', () => {
    assert.deepEqual(new Set(vectors.map(([message]) => message.event)), new Set(Object.keys(events)))
  })

  for (const [message, frame] of vectors) {
    const { flags = 0, seq = 0, instance = 0 } = headerOf(frame)
    const fact = `${message.event} ${frame.slice(0, 30)}…`

    it(`are encoded: ${fact}`, () => {
      const { number, app } = events[message.event]
      const header = { version, flags, event: number, seq, app: apps[app], instance }
      const bytes = concatenated(encodeFrame({ ...header, payload: encode(message) }, crc32))
      assert.equal(Buffer.from(bytes).toString('hex'), frame.replaceAll(' ', ''))
    })

    it(`are decoded: ${fact}`, () => {
      const [read, ...more] = new FrameReader(crc32, 4096).push({ bytes: hex(frame) })
      assert.ok(read)
      assert.deepEqual(more, [])
      const { payload: _, ...header } = read
      assert.deepEqual(header, headerOf(frame))
      assert.deepEqual(decode(read), message)
    })
  }
})
