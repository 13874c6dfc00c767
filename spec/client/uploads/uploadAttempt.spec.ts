import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { Buffers } from '../../../lib/client/connection/buffers.ts'
import type { OnlineLink } from '../../../lib/client/connection/session.ts'
import { ClientUpload } from '../../../lib/client/uploads/upload.ts'
import { UploadAttempt } from '../../../lib/client/uploads/uploadAttempt.ts'
import { Pacer } from '../../../lib/core/pacer.ts'
import { OspError } from '../../../lib/errors.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { OpenSource } from '../../../lib/ports/source.ts'
import { deferred } from '../../../lib/runtime/deferred.ts'
import { IncrementalDigest } from '../../../lib/runtime/incrementalDigest.ts'
import type { WireMessage } from '../../../lib/wire/message.ts'
import { Rig } from '../../runtime/linkDriverRig.ts'
import { eventNames } from '../../support/frames.ts'
import { spec } from '../../support/spec.ts'

const { digests } = nodePlatform()
await digests.load('md5')

const file = Uint8Array.from({ length: 100 }, (_, at) => at)

const source = {
  size: file.length,
  modifiedAt: 1,
  async read(into: Uint8Array, offset: number) {
    const piece = file.subarray(offset, offset + into.length)
    into.set(piece)
    return piece.length
  },
  unchanged: async () => true,
} as unknown as OpenSource

/** An upload that is being sent, which records the transferred bytes and the changes of its phase in `said`. */
class SpecUpload extends ClientUpload {
  constructor(said: (string | number)[]) {
    super(1, 'a', { pause: async () => {}, resume: async () => {}, cancel: async () => {} })
    this.move('begin')
    this.on('phase', (phase) => void said.push(phase))
    let transferred = 0
    Object.defineProperty(this, 'transferred', {
      get: () => transferred,
      set: (bytes: number) => {
        said.push(bytes - transferred)
        transferred = bytes
      },
    })
  }
}

const digestOf = (read: OpenSource['read']) => new IncrementalDigest({ digests, algorithm: 'md5', read })

/** Sends the file to a server that the spec plays; `followed` bytes were sent by an earlier attempt. */
function sending(followed = 0, digest = digestOf(source.read), pace = new Pacer()) {
  const rig = new Rig()
  const closing = new AbortController()
  const stopping = new AbortController()
  const maxFrame = 1_000_000
  const said: (string | number)[] = []
  const upload = new SpecUpload(said)
  upload.setProgress(followed, 0, file.length)
  if (followed > 0) digest.follow(0, [file.subarray(0, followed)])
  const link = {
    peer: rig.peer,
    buffers: new Buffers(maxFrame, closing.signal),
    welcome: { maxFrame },
    closed: closing.signal,
  } as unknown as OnlineLink
  const run = new UploadAttempt({
    link,
    clock: rig.clock,
    pace,
    upload,
    source,
    algorithm: 'md5',
    digest,
    fresh: false,
    signal: stopping.signal,
    granted: () => {},
    progressed: () => {},
  }).run()
  return { rig, run, closing, said, stop: () => stopping.abort() }
}

const granted = (
  progress: number,
  checkpoint: number,
  checkpointDigest: Uint8Array = new Uint8Array(16),
  chunk = 1_000,
): WireMessage => ({
  event: 'ContinuePostFileAck',
  instance: 3,
  progress,
  chunk,
  window: 1_000,
  checkpoint,
  checkpointDigest,
})

const turn = () => new Promise((go) => setImmediate(go))

/** Waits until the client has sent this event, and returns its seq. */
async function asked(rig: Rig, event: string): Promise<number> {
  for (let turns = 0; turns < 100; turns++) {
    const at = eventNames(rig.socket.sent).lastIndexOf(event)
    if (at >= 0) return rig.socket.sent[at]?.seq ?? 0
    await new Promise((go) => setImmediate(go))
  }
  return assert.fail(`${event} was not sent, but ${eventNames(rig.socket.sent)}`)
}

spec('an upload attempt', (it) => {
  it('ends if the server answers the digest with a progress after the end', async () => {
    const { rig, run } = sending()
    const ended = assert.rejects(run, { code: 'malformed' })
    rig.socket.hear(granted(0, 0), await asked(rig, 'ContinuePostFileReq'))
    rig.socket.hear({ event: 'PostFileAck', progress: 100, durable: 0 }, await asked(rig, 'PostFileReq'), 3)
    const seq = await asked(rig, 'FileMd5Req')
    rig.socket.hear({ event: 'FileMd5Nack', code: 12, retryAfter: 0, text: '', progress: 1_000 }, seq, 3)
    rig.socket.hear({ event: 'PauseFileAck', progress: 100, durable: 100 }, await asked(rig, 'PauseFileReq'), 3)
    await ended
  })

  it('ends if the digest at the server’s checkpoint disagrees, although one chunk is left', async () => {
    const { rig, run } = sending(60)
    const ended = assert.rejects(run, { code: 'digest-mismatch' })
    rig.socket.hear(granted(60, 60), await asked(rig, 'ContinuePostFileReq'))
    rig.socket.hear({ event: 'PauseFileAck', progress: 60, durable: 60 }, await asked(rig, 'PauseFileReq'), 3)
    await ended
  })

  it('reports verification when every byte is acknowledged, not when the digest is queued', async () => {
    const { rig, run, said } = sending()
    const open = await asked(rig, 'ContinuePostFileReq')
    rig.socket.hear(granted(0, 0, undefined, 50), open)
    await asked(rig, 'PostFileReq')
    for (let turns = 0; turns < 20; turns++) await turn()
    const first = open + 1
    rig.socket.leave()
    const seq = await asked(rig, 'FileMd5Req')
    assert.deepEqual(said, [], 'nothing was acknowledged')
    rig.socket.hear({ event: 'PostFileAck', progress: 50, durable: 0 }, first, 3)
    await turn()
    assert.deepEqual(said, [50])
    rig.socket.hear({ event: 'PostFileAck', progress: 100, durable: 0 }, first + 1, 3)
    await turn()
    assert.deepEqual(said, [50, 50, 'verifying'])
    rig.socket.hear({ event: 'FileMd5Nack', code: 12, retryAfter: 0, text: '', progress: 50 }, seq, 3)
    await turn()
    assert.deepEqual(said, [50, 50, 'verifying', 'sending'])
    rig.socket.leave()
    rig.socket.hear({ event: 'FileMd5Ack', storedName: 'a', replaced: 0 }, (await asked(rig, 'PostFileReq')) + 1, 3)
    assert.deepEqual(await run, { storedName: 'a', replaced: false })
    assert.deepEqual(said.slice(4), [50, 'verifying'], 'the answer to the digest says that every byte has come')
  })

  it('ends when it is stopped while the digest waits after chunks', async () => {
    const { rig, run, stop } = sending()
    const ended = assert.rejects(run, { code: 'closed' })
    rig.socket.hear(granted(0, 0, undefined, 30), await asked(rig, 'ContinuePostFileReq'))
    await asked(rig, 'PostFileReq')
    for (let turns = 0; turns < 20; turns++) await turn()
    assert.deepEqual(eventNames(rig.socket.sent), ['ContinuePostFileReq', 'PostFileReq', 'PostFileReq'])
    stop()
    rig.socket.hear({ event: 'PauseFileAck', progress: 60, durable: 0 }, await asked(rig, 'PauseFileReq'), 3)
    await ended
    rig.socket.leave()
    assert.ok(!eventNames(rig.socket.sent).includes('FileMd5Req'))
  })

  it('continues when it is stopped while the server can verify the file', async () => {
    const { rig, run, stop } = sending()
    rig.socket.hear(granted(0, 0), await asked(rig, 'ContinuePostFileReq'))
    const seq = await asked(rig, 'FileMd5Req')
    rig.socket.leave()
    stop()
    rig.socket.hear({ event: 'FileMd5Ack', storedName: 'a', replaced: 0 }, seq, 3)
    assert.deepEqual(await run, { storedName: 'a', replaced: false })
  })

  it('continues if the digests agree', async () => {
    const { rig, run } = sending(60)
    const own = digests.create('md5')
    own.update(file.subarray(0, 60))
    rig.socket.hear(granted(60, 60, own.digest()), await asked(rig, 'ContinuePostFileReq'))
    rig.socket.hear({ event: 'PostFileAck', progress: 100, durable: 60 }, await asked(rig, 'PostFileReq'), 3)
    rig.socket.hear({ event: 'FileMd5Ack', storedName: 'a', replaced: undefined }, await asked(rig, 'FileMd5Req'), 3)
    assert.deepEqual(await run, { storedName: 'a', replaced: false })
  })

  it('waits for a read for the digest that an earlier attempt has begun', async () => {
    const slow = deferred<void>()
    const digest = digestOf(async (into, offset) => {
      await slow.promise
      return source.read(into, offset)
    })
    void digest.catchUp(60)
    const { rig, run } = sending(0, digest)
    rig.socket.hear(granted(0, 0), await asked(rig, 'ContinuePostFileReq'))
    rig.socket.hear({ event: 'PostFileAck', progress: 100, durable: 0 }, await asked(rig, 'PostFileReq'), 3)
    slow.resolve()
    rig.socket.hear({ event: 'FileMd5Ack', storedName: 'a', replaced: 1 }, await asked(rig, 'FileMd5Req'), 3)
    assert.deepEqual(await run, { storedName: 'a', replaced: true })
  })

  it('ends with its link also if no request is unanswered', async () => {
    const { rig, run, closing } = sending(
      0,
      digestOf(() => new Promise(() => {})),
    )
    const ended = assert.rejects(run, { code: 'link-lost' })
    rig.socket.hear(granted(100, 0), await asked(rig, 'ContinuePostFileReq'))
    await new Promise((go) => setImmediate(go))
    closing.abort(new OspError('link-lost'))
    rig.socket.hear({ event: 'PauseFileAck', progress: 100, durable: 100 }, await asked(rig, 'PauseFileReq'), 3)
    await ended
  })

  it('ends with its link also while it waits for the rate limit', async () => {
    const pace = new Pacer(1)
    pace.delayMs(1_000, 1_000_000)
    const { rig, run, closing } = sending(0, digestOf(source.read), pace)
    const ended = assert.rejects(run, { code: 'link-lost' })
    rig.socket.hear(granted(0, 0), await asked(rig, 'ContinuePostFileReq'))
    await new Promise((go) => setImmediate(go))
    closing.abort(new OspError('link-lost'))
    rig.socket.hear({ event: 'PauseFileAck', progress: 0, durable: 0 }, await asked(rig, 'PauseFileReq'), 3)
    await ended
  })
})

spec('the buffers of a link', (it) => {
  const all = (buffers: Buffers) => Promise.all(Array.from({ length: clientLimits.buffers }, () => buffers.take()))

  it('are not awaited after the end of the link', async () => {
    const closed = new AbortController()
    const buffers = new Buffers(10, closed.signal)
    await all(buffers)
    const waits = assert.rejects(buffers.take(), { code: 'link-lost' })
    closed.abort(new OspError('link-lost'))
    await waits
    await assert.rejects(buffers.take(), { code: 'link-lost' })
  })

  it('are passed to waiting callers', async () => {
    const buffers = new Buffers(10, new AbortController().signal)
    const [buffer] = await all(buffers)
    assert.ok(buffer)
    const next = buffers.take()
    buffers.put(buffer)
    assert.equal(await next, buffer)
  })
})
