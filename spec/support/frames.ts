import type { Frame } from '../../lib/wire/frame.ts'
import { decode, encode, type WireMessage } from '../../lib/wire/message.ts'
import { apps, events, version } from '../../lib/wire/protocol.ts'

/** Returns the frame that carries `message`. */
export function frameFor(message: WireMessage, seq: number, instance = 0, flags = 0): Frame {
  const { number, app } = events[message.event]
  return { version, flags, event: number, seq, app: apps[app], instance, payload: encode(message) }
}

/** Returns a chunk frame with this many bytes. */
export function chunkFrame(seq: number, length = 4, offset = 0): Frame {
  return frameFor({ event: 'PostFileReq', progress: offset, content: [new Uint8Array(length)] }, seq, 1)
}

/** Returns the frame of a file in one request, with this many bytes. */
export function putFrame(seq: number, length: number): Frame {
  const file = { fileName: 'a', size: length, modifiedAt: 0, digest: 2, fileDigest: new Uint8Array(32) }
  return frameFor({ event: 'PutFileReq', ...file, content: [new Uint8Array(length)] }, seq)
}

/** A small REQ. */
export function pauseFrame(seq: number): Frame {
  return frameFor({ event: 'PauseFileReq' }, seq, 1)
}

/** The event names of frames. */
export function eventNames(frames: readonly Frame[]): string[] {
  return frames.map((frame) => decode(frame).event)
}
