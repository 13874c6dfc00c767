import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { ReceiveBuffers } from '../../lib/adapters/net/receiveBuffers.ts'
import { encodeFrame, type Frame, FrameReader, headerBytes } from '../../lib/wire/frame.ts'
import { concatenated, cut } from '../support/bytes.ts'
import { spec } from '../support/spec.ts'
import { anyFrame } from './arbitrary.ts'

const limit = 4 * 1024 * 1024
const none = new Uint8Array(0)

const reader = (maxPayload = limit) => new FrameReader(crc32, maxPayload)
const bytesOf = (frame: Frame) => concatenated(encodeFrame(frame, crc32))
const frameOf = (...payload: Uint8Array[]): Frame => ({
  version: 1,
  flags: 0,
  event: 4,
  seq: 7,
  app: 1,
  instance: 3,
  payload,
})
const counting = (length: number) => Uint8Array.from({ length }, (_, index) => index * 7)
const whole = (frame: Frame) => ({ ...frame, payload: concatenated(frame.payload) })

function read(pieces: Iterable<Uint8Array>, from = reader()): Frame[] {
  return [...pieces].flatMap((bytes) => [...from.push({ bytes })])
}

/** The header of a frame that announces a payload of this length. */
function announcing(length: number): Uint8Array {
  const header = new Uint8Array(headerBytes)
  new DataView(header.buffer).setUint32(0, length)
  return header
}

spec('a frame', (it) => {
  it('that many links share is encoded once, to the same bytes', () => {
    const frame = { ...frameOf(counting(3), counting(2_000)), shared: {} }
    const [bytes] = encodeFrame(frame, crc32)
    assert.deepEqual(bytes, bytesOf(frameOf(counting(3), counting(2_000))))
    assert.equal(encodeFrame(frame, crc32)[0], bytes)
  })

  it('has the header of the protocol', () => {
    const frame = { version: 1, flags: 2, event: 0x0304, seq: 0x05060708, app: 0x090a, instance: 0x0b0c, payload: [] }
    const header = bytesOf({ ...frame, payload: [counting(3)] })
    assert.deepEqual([...header.subarray(0, 16)], [0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    const covered = Buffer.concat([header.subarray(0, 16), header.subarray(20)])
    assert.equal(new DataView(header.buffer).getUint32(16), crc32(covered))
  })

  it('is written without a copy of its payload', () => {
    const payload = [counting(5), counting(6)]
    assert.deepEqual(encodeFrame(frameOf(...payload), crc32).slice(1), payload)
    assert.equal(encodeFrame(frameOf(...payload), crc32)[1], payload[0])
  })
})

/** Reads a stream through one shared buffer, as a socket does; long payloads are written to their own buffers. */
function readInPlace(stream: Uint8Array, lengths: readonly number[], from: FrameReader): Frame[] {
  const { shared } = new ReceiveBuffers()
  const frames: Frame[] = []
  for (let at = 0, read = 0; at < stream.length; read++) {
    const target = from.target ?? shared
    const bytes = stream.subarray(at, at + Math.min(target.length, lengths[read % lengths.length] || 1))
    target.set(bytes)
    at += bytes.length
    if (target === shared) frames.push(...from.push({ bytes: shared.subarray(0, bytes.length) }))
    else frames.push(...[from.received(bytes.length)].filter((frame) => frame !== undefined))
    shared.fill(0)
  }
  return frames
}

spec('a frame reader with buffers', (it) => {
  const inPlace = () => new FrameReader(crc32, limit, new ReceiveBuffers())

  it('copies a payload that fills most of the shared buffer and has no buffer of its own', () => {
    for (const length of [65_536, 65_537, 100_000, new ReceiveBuffers().shared.length - headerBytes]) {
      const frame = { ...frameOf(counting(length)), event: 0x0304 }
      const [found, ...more] = read([bytesOf(frame)], inPlace())
      assert.deepEqual([found && whole(found).payload, more], [counting(length), []], `${length}`)
    }
  })

  it('finds all frames, however the stream is divided, and copies what arrives in the shared buffer', () => {
    const lengths = fc.array(fc.oneof(fc.nat(5), fc.nat(5_000), fc.nat(100_000)), { minLength: 1, maxLength: 20 })
    const other = { ...frameOf(counting(70_000)), event: 5 }
    const frames = [frameOf(counting(200_000)), frameOf(), other, frameOf(counting(65_536), counting(4_097))]
    const stream = concatenated(frames.map(bytesOf))
    const property = fc.property(lengths, (lengths) => {
      fc.pre(lengths.some((length) => length > 100))
      const found = readInPlace(stream, lengths, inPlace())
      assert.deepEqual(
        found.map(({ release: _, ...frame }) => whole(frame)),
        frames.map(whole),
      )
    })
    fc.assert(property)
  })

  it('receives a long payload of POST_FILE_REQ in one part, and uses its buffer again after its release', () => {
    const from = inPlace()
    const stream = bytesOf(frameOf(counting(300_000)))
    const [first] = readInPlace(stream, [65_536], from)
    const [second] = readInPlace(stream, [65_536], from)
    assert.equal(first?.payload.length, 1)
    assert.notEqual(second?.payload[0]?.buffer, first?.payload[0]?.buffer)
    first?.release?.()
    const [third] = readInPlace(stream, [65_536], from)
    assert.equal(third?.payload[0]?.buffer, first?.payload[0]?.buffer)
  })

  it('receives a payload in blocks if the incomplete payloads have too much memory, until one of them is complete', () => {
    const buffers = new ReceiveBuffers()
    const readers = Array.from({ length: 65 }, () => new FrameReader(crc32, limit, buffers))
    const stream = bytesOf(frameOf(counting(1_000_000)))
    for (const from of readers) assert.deepEqual([...from.push({ bytes: stream.subarray(0, 100) })], [])
    assert.equal(readers[63]?.target?.length, 1_000_020 - 100)
    assert.equal(readers[64]?.target, undefined)
    assert.ok((readers[64]?.held ?? 0) <= 4_096)
    readers[0]?.clear()
    const next = new FrameReader(crc32, limit, buffers)
    assert.deepEqual([...next.push({ bytes: stream.subarray(0, 100) })], [])
    assert.equal(next.target?.length, 1_000_020 - 100)
  })
})

spec('a frame whose content is not checked', (it) => {
  it('has a checksum of its header and its offset', () => {
    const payload = [counting(8), counting(500)]
    const [header] = encodeFrame(frameOf(...payload), crc32, false)
    const covered = Buffer.concat([header?.subarray(0, 16) ?? none, counting(8)])
    assert.equal(new DataView(header?.buffer ?? none.buffer).getUint32(16), crc32(covered))
  })

  it('is found with any content, and not with another offset', () => {
    const bytes = concatenated(encodeFrame(frameOf(counting(8), counting(500)), crc32, false))
    const unchecked = () => Object.assign(reader(), { checksContent: false })
    bytes[headerBytes + 8] = 99
    assert.equal(read([bytes], unchecked()).length, 1)
    assert.throws(() => read([bytes]), { code: 'malformed' })
    bytes[headerBytes] = 99
    assert.throws(() => read([bytes], unchecked()), { code: 'malformed' })
  })

  it('is a POST_FILE_REQ only', () => {
    const frame = { ...frameOf(counting(50)), event: 21 }
    assert.deepEqual(encodeFrame(frame, crc32, false), encodeFrame(frame, crc32))
  })
})

spec('a frame reader', (it) => {
  it('finds all frames, however the stream is divided', () => {
    const lengths = fc.array(fc.oneof(fc.nat(3), fc.nat(500)), { minLength: 1 })
    fc.assert(
      fc.property(fc.array(anyFrame), lengths, (frames, lengths) => {
        const stream = concatenated(frames.map(bytesOf))
        assert.deepEqual(read(cut(stream, lengths)).map(whole), frames.map(whole))
      }),
    )
  })

  it('finds long frames, however the stream is divided', () => {
    const lengths = fc.array(fc.oneof(fc.nat(5), fc.nat(5_000), fc.nat(100_000)), { minLength: 1, maxLength: 20 })
    const frames = [frameOf(counting(200_000)), frameOf(), frameOf(counting(70_000), counting(4_097))]
    const stream = concatenated(frames.map(bytesOf))
    const property = fc.property(lengths, (lengths) => {
      fc.pre(lengths.some((length) => length > 100))
      assert.deepEqual(read(cut(stream, lengths)).map(whole), frames.map(whole))
    })
    fc.assert(property)
  })

  it('passes long pieces through as parts that alias them', () => {
    const stream = bytesOf(frameOf(counting(300_000)))
    const pieces = cut(stream, [65_536])
    const [frame] = read(pieces)
    assert.equal(frame?.payload.length, pieces.length)
    for (const part of frame?.payload ?? []) assert.equal(part.buffer, stream.buffer)
  })

  it('copies a short payload, so that the buffer that arrived with it can be released', () => {
    const stream = concatenated([bytesOf(frameOf(counting(10_000))), bytesOf(frameOf(counting(20_000)))])
    const [short, long] = read([stream])
    assert.deepEqual(
      short?.payload.map((part) => part.buffer.byteLength),
      [10_000],
    )
    assert.equal(long?.payload[0]?.buffer, stream.buffer)
  })

  it('keeps few objects for a payload that arrives byte by byte', () => {
    const [frame] = read(cut(bytesOf(frameOf(counting(300_000))), [1]))
    assert.deepEqual(
      frame?.payload.map((part) => part.length),
      [4_096, 4_096, 8_192, 16_384, 32_768, 65_536, 65_536, 65_536, 37_856],
    )
  })

  it('keeps at most twice the bytes of a payload with alternating short and long pieces', () => {
    for (const lengths of [
      [1, 4_096],
      [4_095, 4_096],
      [1, 65_536],
      [1, 65_535],
      [20_000, 1, 50_000],
    ]) {
      const stream = bytesOf(frameOf(counting(2_000_000)))
      const [frame] = read(cut(stream, lengths))
      const blocks = new Set(frame?.payload.map((part) => part.buffer).filter((buffer) => buffer !== stream.buffer))
      const kept = [...blocks].reduce((total, block) => total + block.byteLength, 0)
      assert.ok(kept <= 2_000_000 + 65_536, `${kept} bytes are kept beside the stream for pieces of ${lengths}`)
      assert.ok((frame?.payload.length ?? 0) < 1_100)
    }
  })

  it('uses memory of little more than twice the received bytes for an incomplete payload, whatever its length', () => {
    const stream = bytesOf(frameOf(counting(200_000)))
    for (const length of [7, 100, 5_000, 65_536]) {
      const from = reader()
      let arrived = -headerBytes
      for (const piece of cut(stream.slice(0, 199_999), [length])) {
        read([piece.slice()], from)
        arrived += piece.length
        assert.ok(from.held >= arrived && from.held <= Math.max(4_096, 2.1 * arrived) + headerBytes, `${from.held}`)
      }
      read([stream.slice(199_999)], from)
      assert.equal(from.held, 0)
    }
  })

  it('does not change returned payloads', () => {
    const from = reader()
    const [first] = read(cut(bytesOf(frameOf(counting(100))), [9]), from)
    read(cut(bytesOf(frameOf(new Uint8Array(100))), [9]), from)
    assert.deepEqual(concatenated(first?.payload ?? []), counting(100))
  })

  it('rejects a payload over the limit as soon as its header is complete', () => {
    const text = /announces 4294967295 bytes, over the limit of 4096/u
    const from = reader(4_096)
    assert.deepEqual(read(cut(announcing(0xffff_ffff).subarray(0, 19), [5]), from), [])
    assert.throws(() => read([announcing(0xffff_ffff).subarray(19)], from), { code: 'malformed', message: text })
    assert.throws(() => read([announcing(4_097)], reader(4_096)), { code: 'malformed' })
    assert.equal(read([bytesOf(frameOf(counting(4_096)))], reader(4_096)).length, 1)
  })

  it('uses a limit that is raised between two frames of one piece', () => {
    const from = reader(10)
    const found: number[] = []
    const bytes = concatenated([bytesOf(frameOf(counting(10))), bytesOf(frameOf(counting(99)))])
    for (const frame of from.push({ bytes })) {
      found.push(concatenated(frame.payload).length)
      from.maxPayload = 100
    }
    assert.deepEqual(found, [10, 99])
  })

  it('rejects every frame with a changed bit', () => {
    const property = fc.property(anyFrame, fc.nat(), fc.nat(7), (frame, place, bit) => {
      const bytes = bytesOf(frame)
      const at = place % bytes.length
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
      const from = reader()
      try {
        assert.deepEqual(read([bytes], from), [])
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'malformed')
        return
      }
      assert.equal(from.between, false)
    })
    fc.assert(property, { numRuns: 1_000 })
  })

  it('reports a damaged frame as damaged', () => {
    const bytes = bytesOf(frameOf(counting(50)))
    bytes[40] = 99
    assert.throws(() => read([bytes]), { code: 'malformed', message: /damaged/u })
  })

  it('returns no frame for an incomplete one, and knows its announced length', () => {
    const bytes = bytesOf(frameOf(counting(50)))
    for (let length = 0; length < bytes.length; length++) {
      const from = reader()
      assert.deepEqual(read([bytes.subarray(0, length)], from), [])
      assert.equal(from.between, length === 0)
      assert.equal(from.announced, length < headerBytes ? 0 : 50)
    }
  })

  it('is between two frames after a complete one', () => {
    const from = reader()
    read([bytesOf(frameOf(counting(50))), bytesOf(frameOf())], from)
    assert.equal(from.between, true)
    assert.equal(from.announced, 0)
  })
})
