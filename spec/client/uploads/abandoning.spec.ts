import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { Buffers } from '../../../lib/client/connection/buffers.ts'
import type { OnlineLink } from '../../../lib/client/connection/session.ts'
import { ClientUpload } from '../../../lib/client/uploads/upload.ts'
import { UploadAttempt } from '../../../lib/client/uploads/uploadAttempt.ts'
import { Pacer } from '../../../lib/core/pacer.ts'
import { fixed } from '../../../lib/limits.ts'
import type { OpenSource } from '../../../lib/ports/source.ts'
import { IncrementalDigest } from '../../../lib/runtime/incrementalDigest.ts'
import { Rig } from '../../runtime/linkDriverRig.ts'
import { eventNames } from '../../support/frames.ts'
import { spec } from '../../support/spec.ts'

const { digests } = nodePlatform()
await digests.load('md5')

const chunkBytes = 20

const source = {
  size: 10 * chunkBytes,
  modifiedAt: 1,
  read: async (into: Uint8Array) => into.length,
  unchanged: async () => true,
} as unknown as OpenSource

/** A file of ten chunks, five of which fit its window, sent to a server that the spec plays, until `stop` is called. */
function sending() {
  const rig = new Rig()
  const stopping = new AbortController()
  const closed = new AbortController().signal
  const link = {
    peer: rig.peer,
    buffers: new Buffers(1_000_000, closed),
    welcome: { maxFrame: 1_000_000 },
    closed,
  } as unknown as OnlineLink
  const run = new UploadAttempt({
    link,
    clock: rig.clock,
    pace: new Pacer(),
    upload: new ClientUpload(1, 'a', idleHost),
    source,
    algorithm: 'md5',
    digest: new IncrementalDigest({ digests, algorithm: 'md5', read: source.read }),
    fresh: false,
    signal: stopping.signal,
    granted: () => {},
    progressed: () => {},
  }).run()
  return { rig, run, stop: () => stopping.abort() }
}

/** The upload is in no list. */
const idleHost = { pause: async () => {}, resume: async () => {}, cancel: async () => {} }

const turns = async () => {
  for (let n = 0; n < 100; n++) await new Promise((go) => setImmediate(go))
}

spec('a request of an upload attempt', (it) => {
  it('is not repeated after the attempt has ended, because another upload may have its instance', async () => {
    const { rig, run, stop } = sending()
    const { socket } = rig
    const chunks = () => eventNames(socket.sent).filter((event) => event === 'PostFileReq').length
    const ended = assert.rejects(run, { code: 'closed' })
    await turns()
    const grant = { instance: 3, progress: 0, chunk: chunkBytes, window: 5 * chunkBytes }
    const checkpoint = { checkpoint: 0, checkpointDigest: new Uint8Array(16) }
    socket.hear({ event: 'ContinuePostFileAck', ...grant, ...checkpoint }, 1)
    await turns()
    assert.equal(chunks(), fixed.chunksHanded)
    stop()
    await turns()
    const pause = socket.sent[eventNames(socket.sent).indexOf('PauseFileReq')]
    socket.hear({ event: 'PauseFileAck', progress: 0, durable: 0 }, pause?.seq ?? 0, 3)
    await ended
    socket.leave()
    await turns()
    assert.equal(chunks(), fixed.chunksHanded)
  })
})
