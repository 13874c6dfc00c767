import type { Draw } from './draw.ts'

/** Bytes at which counts, signs and lengths change. */
const borderBytes = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x20]

/** Changes of bytes; results may alias the arguments. */
const changes: readonly ((bytes: Uint8Array, draw: Draw, other: Uint8Array) => Uint8Array)[] = [
  (bytes, draw) => with1(bytes, draw, (byte) => byte ^ (1 << draw.below(8))),
  (bytes, draw) => with1(bytes, draw, () => draw.pick(borderBytes)),
  (bytes, draw) => with1(bytes, draw, () => draw.below(256)),
  (bytes, draw) => spliced(bytes, draw.below(bytes.length + 1), 0, draw.bytes(draw.from(1, 8))),
  (bytes, draw) => spliced(bytes, draw.below(bytes.length + 1), draw.from(1, 8), none),
  (bytes, draw) => bytes.subarray(0, draw.below(bytes.length + 1)),
  (bytes, draw, other) => spliced(bytes, draw.below(bytes.length + 1), draw.below(bytes.length + 1), part(other, draw)),
  (bytes, draw) => spliced(bytes, draw.below(bytes.length + 1), 0, part(bytes, draw)),
  (bytes, draw) => spliced(bytes, draw.below(bytes.length + 1), 4, Uint8Array.of(255, 255, 255, draw.below(256))),
]

const none = new Uint8Array(0)

/** Returns `bytes` with 1 to 4 changes; some of them take a part of `other`. */
export function mutated(bytes: Uint8Array, draw: Draw, other = bytes): Uint8Array {
  let changed = bytes
  for (let left = draw.from(1, 4); left > 0; left--) changed = draw.pick(changes)(changed, draw, other)
  return changed
}

/** Cuts `bytes` into pieces of up to this length. */
export function cutUp(bytes: Uint8Array, draw: Draw, longest: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = draw.from(draw.once(10) ? 0 : 1, longest)
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}

function with1(bytes: Uint8Array, draw: Draw, change: (byte: number) => number): Uint8Array {
  const at = draw.below(bytes.length)
  return bytes.length === 0 ? bytes : bytes.with(at, change(bytes[at] ?? 0))
}

function spliced(bytes: Uint8Array, at: number, without: number, put: Uint8Array): Uint8Array {
  return Uint8Array.from(Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + without)]))
}

function part(bytes: Uint8Array, draw: Draw): Uint8Array {
  const at = draw.below(bytes.length)
  return bytes.subarray(at, at + draw.from(1, 64))
}
