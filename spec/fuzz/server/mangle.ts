import { crc32 } from 'node:zlib'
import { encodeFrame, type Frame } from '../../../lib/wire/frame.ts'
import { decode, encode } from '../../../lib/wire/message.ts'
import { apps, events } from '../../../lib/wire/protocol.ts'
import { frameFor } from '../../support/frames.ts'
import { borderMessage, eventNames, withBorder } from '../borders.ts'
import type { Draw } from '../draw.ts'
import { cutUp, mutated } from '../mutate.ts'
import type { Pieces } from '../target.ts'
import type { Line, Script } from './recordings.ts'

/**
 * The first byte of each piece: send the rest on a link (0 to 2), end a link, or let this many tenths of seconds pass.
 */
export const steps = { said: 0, ended: 0x10, passed: 0x20 } as const
export const linkCount = 3

type Change = (script: Script, at: number, draw: Draw, scripts: readonly Script[]) => Script

/** Changes of a conversation at one of its lines. */
const changes: readonly Change[] = [
  // The payload, with a correct CRC.
  onFrame((frame, draw) => ({ ...frame, payload: [mutated(Buffer.concat(frame.payload), draw)] })),
  onFrame((frame, draw) => ({ ...frame, payload: encode(withBorder(decode(frame), draw)) })),
  onFrame((frame, draw) => ({ ...frame, payload: encode(withBorder(decode(frame), draw)) })),
  onFrame((frame, draw) => ({ ...frame, ...draw.pick(headers)(draw, frame) })),
  (script, at) => script.toSpliced(at, 1),
  (script, at, draw) => script.toSpliced(at, draw.from(1, 4)),
  (script, at, draw) => script.toSpliced(draw.below(script.length), 0, ...script.slice(at, at + draw.from(1, 3))),
  (script, at, draw) => {
    const [line] = script.slice(at)
    return line ? script.toSpliced(at, 1).toSpliced(draw.below(script.length), 0, line) : script
  },
  (script, at, draw, scripts) => {
    const other = draw.pick(scripts)
    const from = draw.below(other.length)
    return script.toSpliced(at, draw.below(3), ...other.slice(from, from + draw.from(1, 6)))
  },
  (script, at) => script.slice(0, at),
  (script, at, draw) => script.toSpliced(at, 0, { link: draw.below(linkCount) }),
  (script, at, draw) => script.map((line, index) => (index >= at ? { ...line, link: draw.below(linkCount) } : line)),
  (script, at, draw) => {
    const frame = frameFor(borderMessage(draw.pick(eventNames), draw), draw.below(30), draw.below(6))
    return script.toSpliced(at, 0, { link: script[at]?.link ?? 0, frame })
  },
]

/** Changes of a header. */
const headers: readonly ((draw: Draw, frame: Frame) => Partial<Frame>)[] = [
  (draw) => ({ version: draw.pick([0, 2, 255]) }),
  (draw) => ({ flags: draw.pick([1, 2, 255]) }),
  (draw) => {
    const { number, app } = events[draw.pick(eventNames)]
    return { event: number, app: apps[app] }
  },
  (draw) => ({ event: draw.below(100) }),
  (draw, { seq }) => ({ seq: draw.pick([0, 1, seq + 1, seq + 513, Math.max(0, seq - 1), 0xffff_ffff]) }),
  (draw) => ({ app: draw.pick([0, 1, 2, 3, 0xffff]) }),
  (draw) => ({ instance: draw.pick([0, 1, 2, 3, 4, 5, 6, 7, 0xffff]) }),
]

function onFrame(change: (frame: Frame, draw: Draw) => Frame): Change {
  return (script, at, draw) => {
    const line = script[at]
    if (!line?.frame) return script
    try {
      return script.with(at, { ...line, frame: change(line.frame, draw) })
    } catch {
      // It was changed before, and cannot be decoded any more.
      return script
    }
  }
}

/** Returns a conversation with 0 to 5 changes, in pieces of bytes. */
export function mangled(scripts: readonly Script[], draw: Draw): Pieces {
  let script = draw.pick(scripts)
  for (let left = draw.below(6); left > 0 && script.length > 0; left--) {
    script = draw.pick(changes)(script, draw.below(script.length), draw, scripts)
  }
  return piecesOf(script, draw)
}

/** Returns noise: arbitrary bytes, or arbitrary messages and headers, with or without a HELLO_REQ before. */
export function noise(scripts: readonly Script[], draw: Draw): Pieces {
  const hello = draw.once(4) ? [] : (scripts[0] ?? []).slice(0, 1)
  const anyBytes = draw.once(2)
  const lines = draw.some(0, anyBytes ? 0 : 8, (): Line => {
    const frame = frameFor(borderMessage(draw.pick(eventNames), draw), draw.below(10), draw.below(6))
    return { link: 0, frame: draw.once(5) ? { ...frame, ...draw.pick(headers)(draw, frame) } : frame }
  })
  const rest = anyBytes ? cutUp(draw.bytes(draw.below(300)), draw, 200).map((piece) => said(0, piece)) : []
  return [...piecesOf([...hello, ...lines], draw), ...rest]
}

/** Sometimes bytes are changed with a wrong CRC, arrive in other pieces, or time passes between them. */
function piecesOf(script: Script, draw: Draw): Pieces {
  const pieces: Uint8Array[] = []
  const isWrong = draw.once(6)
  const isCut = draw.once(4)
  for (const { link, frame } of script) {
    if (!frame) pieces.push(Uint8Array.of(steps.ended | link))
    else for (const piece of bytesOf(frame, isWrong, isCut, draw)) pieces.push(said(link, piece))
    if (draw.once(20)) pieces.push(Uint8Array.of(steps.passed, draw.pick([1, 5, 10, 50, 255])))
  }
  return draw.once(5) ? pieces.map((piece, at) => merged(piece, pieces[at + 1])) : pieces
}

/** Returns the bytes of a frame, sometimes changed or cut. */
function bytesOf(frame: Frame, isWrong: boolean, isCut: boolean, draw: Draw): readonly Uint8Array[] {
  const right = Buffer.concat(encodeFrame(frame, crc32))
  const bytes = isWrong && draw.once(8) ? mutated(right, draw) : right
  return isCut ? cutUp(bytes, draw, 500) : [bytes]
}

function said(link: number, bytes: Uint8Array): Uint8Array {
  const piece = new Uint8Array(1 + bytes.length)
  piece[0] = steps.said | link
  piece.set(bytes, 1)
  return piece
}

/** Joins a piece with the next one if both are sent on the same link, so that some arrive twice, or at once. */
function merged(piece: Uint8Array, next: Uint8Array | undefined): Uint8Array {
  if (!next || next[0] !== piece[0] || (piece[0] ?? 0) >= steps.ended) return piece
  return Uint8Array.from(Buffer.concat([piece, next.subarray(1)]))
}
