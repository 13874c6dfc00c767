import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { encodeFrame, type Frame, FrameReader, headerBytes } from '../../../lib/wire/frame.ts'
import { frameFor } from '../../support/frames.ts'
import { patterned } from '../../support/memorySource.ts'
import { borderMessage, eventNames } from '../borders.ts'
import { assertCoded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { cutUp, mutated } from '../mutate.ts'
import { type Pieces, plainTarget } from '../target.ts'

const mostPayload = 40_000
/** A shorter piece is collected with others: this is the maximum number of parts of a payload. */
const gatheredBytes = 4_096

/** A stream of frames in arbitrary pieces: it yields the same frames as the whole, and the same end. */
export const frameTarget = plainTarget({ make, run })

function make(draw: Draw): Pieces {
  const bytes = Buffer.concat(draw.some(0, 4, () => Buffer.concat(encodeFrame(anyFrame(draw), crc32))))
  const stream = draw.once(2) ? mutated(bytes, draw) : bytes
  return cutUp(stream, draw, draw.pick([1, 7, 20, 300, 5_000, 50_000]))
}

function anyFrame(draw: Draw): Frame {
  if (draw.once(4)) {
    const [event, app, instance] = [draw.below(0x1_0000), draw.below(4), draw.below(0x1_0000)]
    const payload = [patterned(draw.pick([0, 1, 4_095, 16_383, 16_384, mostPayload, mostPayload + 1]))]
    return { version: draw.below(3), flags: draw.below(256), event, seq: draw.below(2 ** 32), app, instance, payload }
  }
  return frameFor(borderMessage(draw.pick(eventNames), draw), draw.below(1_000), draw.below(4), draw.below(2))
}

function run(pieces: Pieces): void {
  const expected = plainly(Buffer.concat(pieces))
  const found: string[] = []
  const reader = new FrameReader(crc32, mostPayload)
  try {
    for (const piece of pieces) {
      for (const frame of reader.push({ bytes: piece })) {
        const payload = Buffer.concat(frame.payload)
        const most = 1 + 2 * Math.ceil(payload.length / gatheredBytes)
        assert.ok(frame.payload.length <= most, `${frame.payload.length} parts for ${payload.length} bytes`)
        found.push(shown(frame, payload))
      }
    }
    found.push(reader.between ? 'between' : 'within')
  } catch (error) {
    assertCoded(error, 'malformed')
    found.push('malformed')
  }
  assert.deepEqual(found, expected)
}

/** Returns the frames of a stream, and where it ends: `between` two, `within` one, or at one that is `malformed`. */
function plainly(bytes: Buffer): string[] {
  const found: string[] = []
  for (let at = 0; ; ) {
    const left = bytes.length - at
    if (left === 0) return [...found, 'between']
    if (left < headerBytes) return [...found, 'within']
    const length = bytes.readUInt32BE(at)
    if (length > mostPayload) return [...found, 'malformed']
    if (left < headerBytes + length) return [...found, 'within']
    const payload = bytes.subarray(at + headerBytes, at + headerBytes + length)
    if (crc32(payload, crc32(bytes.subarray(at, at + 16))) !== bytes.readUInt32BE(at + 16))
      return [...found, 'malformed']
    const [version, flags] = [bytes.readUInt8(at + 4), bytes.readUInt8(at + 5)]
    const [event, seq] = [bytes.readUInt16BE(at + 6), bytes.readUInt32BE(at + 8)]
    const [app, instance] = [bytes.readUInt16BE(at + 12), bytes.readUInt16BE(at + 14)]
    found.push(shown({ version, flags, event, seq, app, instance }, payload))
    at += headerBytes + length
  }
}

function shown(frame: Omit<Frame, 'payload'>, payload: Buffer): string {
  const { version, flags, event, seq, app, instance } = frame
  return `${[version, flags, event, seq, app, instance]} ${payload.length} ${crc32(payload)}`
}
