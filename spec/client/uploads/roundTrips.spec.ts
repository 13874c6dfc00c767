import assert from 'node:assert/strict'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { type RecordedTransport, recordedTransport } from '../../support/recordedTransport.ts'
import { spec } from '../../support/spec.ts'
import { UploadRig } from '../../support/uploadRig.ts'

/** Runs a spec on a rig that records its links from HELLO on. */
async function travelled(prove: (rig: UploadRig, way: RecordedTransport) => Promise<void>): Promise<void> {
  await using rig = await UploadRig.start()
  await prove(rig, recordedTransport(rig.transport))
}

const files = (way: RecordedTransport) => way.steps.filter((step) => /File|Pause|Cancel/u.test(step))

spec('a file of one chunk travels in two round trips', (it) => {
  it('of which the second carries the chunk and the digest, without waiting between them', () =>
    travelled(async (rig, way) => {
      // The reply to the chunk comes only once the digest is sent: a client that waited for it would wait for ever.
      way.keepBack = new Set(['PostFileAck'])
      way.sent = (event) => {
        if (event === 'FileMd5Req') setImmediate(() => way.release())
      }
      const client = rig.client({ to: way })
      const upload = await client.upload(memorySource('a', patterned(1_024)))
      await upload.done
      assert.deepEqual(
        files(way).filter((step) => step.startsWith('>')),
        ['> ContinuePostFileReq', '> PostFileReq', '> FileMd5Req'],
      )
      assert.deepEqual(files(way).slice(0, 4), [
        '> ContinuePostFileReq',
        '< ContinuePostFileAck',
        '> PostFileReq',
        '> FileMd5Req',
      ])
      assert.deepEqual(rig.stored('alice', 'a'), patterned(1_024))
    }))

  it('each, for any number of files, without repeated requests', () =>
    travelled(async (rig, way) => {
      const client = rig.client({ to: way })
      const names = Array.from({ length: 60 }, (_, at) => `folder/${at}`)
      const uploads = await Promise.all(names.map((name) => client.upload(memorySource(name, patterned(1_024)))))
      await Promise.all(uploads.map(({ done: finished }) => finished))
      const counts = new Map<string, number>()
      for (const step of files(way)) counts.set(step, (counts.get(step) ?? 0) + 1)
      assert.deepEqual(Object.fromEntries(counts), {
        '> ContinuePostFileReq': 60,
        '< ContinuePostFileAck': 60,
        '> PostFileReq': 60,
        '> FileMd5Req': 60,
        '< PostFileAck': 60,
        '< FileMd5Ack': 60,
      })
    }))

  it('or in one and the digest alone if it is empty', () =>
    travelled(async (rig, way) => {
      const client = rig.client({ to: way })
      const upload = await client.upload(memorySource('a', new Uint8Array()))
      await upload.done
      assert.deepEqual(files(way), ['> ContinuePostFileReq', '< ContinuePostFileAck', '> FileMd5Req', '< FileMd5Ack'])
    }))
})
