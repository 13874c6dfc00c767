import assert from 'node:assert/strict'
import type { Socket } from '../../../lib/ports/socket.ts'
import { bytesOf, EventRecorder, frameOf } from '../../../lib/testing/transport/ends.ts'
import type { Frame } from '../../../lib/wire/frame.ts'
import { events } from '../../../lib/wire/protocol.ts'

/** Sends long payloads with content of a file, each of which is released. `to` is not started yet. */
export async function assertReused(from: Socket, to: Socket): Promise<void> {
  const heard = new EventRecorder()
  to.start(heard)
  const memory = new Set<ArrayBufferLike>()
  for (let seq = 1; seq <= 3; seq++) {
    from.send({ ...frameOf(seq, bytesOf(90_000, seq)), event: events.PostFileReq.number })
    await heard.times('frame', seq)
    const { payload, release } = heard.frames[seq - 1] as Frame
    assert.deepEqual(payload, [Buffer.from(bytesOf(90_000, seq))])
    for (const { buffer } of payload) memory.add(buffer)
    release?.()
  }
  assert.equal(memory.size, 1)
}
