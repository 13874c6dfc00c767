import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Upload } from '../../../lib/client/uploads/upload.ts'
import { clientLimits, KiB } from '../../../lib/limits.ts'
import type { BoundServeOptions } from '../../../lib/server/server.ts'
import { events } from '../../../lib/wire/protocol.ts'
import { type MemorySource, memorySource, patterned } from '../../support/memorySource.ts'
import { type RecordedTransport, recordedTransport } from '../../support/recordedTransport.ts'
import { spec } from '../../support/spec.ts'
import { turn } from '../../support/turn.ts'
import { until } from '../../support/until.ts'
import { UploadRig } from '../../support/uploadRig.ts'

const maxPut = 256 * KiB
const bytes = patterned(1_024)

/** Runs a spec on a rig that accepts small files and records its links. `stored` are the names of the stored files. */
async function run(
  prove: (rig: UploadRig, way: RecordedTransport, stored: readonly string[]) => Promise<void>,
  options: Partial<BoundServeOptions> = {},
): Promise<void> {
  await using rig = await UploadRig.start({ smallFileBytes: maxPut }, options)
  const stored: string[] = []
  rig.server.on('stored', ({ storedName }) => stored.push(storedName))
  await prove(rig, recordedTransport(rig.transport), stored)
}

const files = (way: RecordedTransport) => way.steps.filter((step) => /File|Pause|Cancel/u.test(step))
const count = (way: RecordedTransport, wanted: string) => way.steps.filter((step) => step === wanted).length
const many = (length: number, size: number) =>
  Array.from({ length }, (_, at) => memorySource(`${at}`, patterned(size, at + 1)))

/** The phases of an upload from now on. */
function phasesOf(upload: Upload): readonly string[] {
  const phases: string[] = [upload.phase]
  upload.on('phase', (phase) => phases.push(phase))
  return phases
}

/** Returns true once, for the first frame of this event. */
function first(event: keyof typeof events): (frame: { event: number }) => boolean {
  let seen = 0
  return (frame) => frame.event === events[event].number && ++seen === 1
}

spec('a small file', (it) => {
  it('takes one round trip, even if it is empty or as long as the first chunk of a link', () =>
    run(async (rig, way) => {
      for (const [at, size] of [0, 1_024, clientLimits.firstChunkBytes].entries()) {
        // The rate of a new link is not known.
        const client = rig.client({ to: way })
        const source = memorySource(`${at}`, patterned(size))
        await (await client.upload(source)).done
        assert.deepEqual(files(way).slice(2 * at), ['> PutFileReq', '< PutFileAck'])
        assert.deepEqual(rig.stored('alice', `${at}`), patterned(size))
        assert.deepEqual([source.opened, source.notClosed], [1, 0])
        await client.close()
      }
    }))

  it('can be as large as the server permits on a link that has proved fast enough', () =>
    run(async (rig, way) => {
      const { clock, ...others } = nodePlatform()
      // By this clock any machine is fast.
      const slowClock = { ...clock, now: () => clock.now() / 1_000 }
      const client = rig.client({ to: way, platform: { ...others, clock: slowClock } })
      await (await client.upload(memorySource('large', patterned(4 * maxPut)))).done
      const before = files(way).length
      await (await client.upload(memorySource('small', patterned(maxPut)))).done
      assert.deepEqual(files(way).slice(before), ['> PutFileReq', '< PutFileAck'])
      assert.deepEqual(rig.stored('alice', 'small'), patterned(maxPut))
    }))

  it('is sent in chunks if it is longer than a chunk of its link', () =>
    run(async (rig, way) => {
      const client = rig.client({ to: way, limitRate: 100_000 })
      const most = (100_000 * clientLimits.chunkMs) / 1_000
      await (await client.upload(memorySource('fits', patterned(most)))).done
      await (await client.upload(memorySource('not', patterned(most + 1)))).done
      assert.deepEqual([count(way, '> PutFileReq'), count(way, '> PostFileReq')], [1, 2])
    }))

  it('is one of many that travel together, each in one request', () =>
    run(async (rig, way, stored) => {
      const client = rig.client({ to: way })
      const sources = many(300, 1_024)
      const uploads = await Promise.all(sources.map((source) => client.upload(source)))
      await Promise.all(uploads.map(({ done }) => done))
      assert.deepEqual([count(way, '> PutFileReq'), files(way).length, stored.length], [300, 600, 300])
      for (const { name, bytes } of sources) assert.deepEqual(rig.stored('alice', name), bytes)
    }))

  it('overtakes larger files, which are sent in chunks', () =>
    run(async (rig, way) => {
      way.keepBack = new Set(['FileMd5Ack'])
      const client = rig.client({ to: way })
      const large = await client.upload(memorySource('large', patterned(maxPut + 1)))
      await until(large, 'phase', () => large.phase === 'verifying')
      await (await client.upload(memorySource('small', bytes))).done
      assert.deepEqual([count(way, '> ContinuePostFileReq'), count(way, '> PutFileReq')], [1, 1])
      way.keepBack = new Set()
      way.release()
      await large.done
      assert.deepEqual(rig.stored('alice', 'large'), patterned(maxPut + 1))
    }))

  it('is sent in chunks to a server that accepts none in one request, even if it is empty', async () => {
    await using rig = await UploadRig.start({ smallFileBytes: 0 })
    const way = recordedTransport(rig.transport)
    const client = rig.client({ to: way })
    for (const size of [0, 1_024]) await (await client.upload(memorySource(`${size}`, patterned(size)))).done
    assert.deepEqual([count(way, '> ContinuePostFileReq'), count(way, '> PutFileReq')], [2, 0])
  })

  it('waits, is sent, and is done', () =>
    run(async (rig) => {
      const upload = await rig.client().upload(memorySource('a', bytes))
      const phases = phasesOf(upload)
      const progress: unknown[] = []
      upload.on('progress', (each) => progress.push(each))
      const { storedName, replaced, size } = await upload.done
      await turn()
      assert.deepEqual([storedName, replaced, size, upload.transferred], ['a', false, 1_024, 1_024])
      assert.deepEqual(phases, ['waiting', 'sending', 'done'])
      assert.deepEqual(progress, [
        { acknowledged: 0, durable: 0, size: 1_024 },
        { acknowledged: 1_024, durable: 1_024, size: 1_024 },
      ])
    }))

  it('that the server refuses finally fails alone', () =>
    run(
      async (rig) => {
        const client = rig.client()
        await (await client.upload(memorySource('a', bytes))).done
        const refused = await client.upload(memorySource('a', patterned(10)))
        const other = await client.upload(memorySource('b', bytes))
        await assert.rejects(refused.done, { code: 'file-exists' })
        await other.done
        assert.deepEqual(rig.stored('alice', 'a'), bytes)
      },
      { onConflict: 'reject' },
    ))

  it('does not exceed `limitRate`, together with others', () =>
    run(async (rig) => {
      const client = rig.client({ limitRate: 1_000_000 })
      const start = performance.now()
      const uploads = await Promise.all(many(20, 25_000).map((source) => client.upload(source)))
      await Promise.all(uploads.map(({ done }) => done))
      const tookMs = performance.now() - start
      assert.ok(tookMs >= 465, `${tookMs}`)
    }))
})

spec('unanswered small files', (it) => {
  for (const [what, size, most] of [
    ['in number', 16, clientLimits.smallFiles],
    ['in bytes', 200 * KiB, Math.ceil(clientLimits.smallFilesBytes / (200 * KiB))],
  ] as const) {
    it(`are limited ${what}, and so are open sources; the others follow`, () =>
      run(async (rig, way, stored) => {
        way.keepBack = new Set(['PutFileAck'])
        const client = rig.client({ to: way })
        const sources = many(most + 25, size)
        const open = () => sources.filter(({ notClosed }) => notClosed > 0).length
        const uploads = await Promise.all(sources.map((source) => client.upload(source)))
        while (count(way, '> PutFileReq') < most) await turn()
        for (let turns = 0; turns < 50; turns++) await turn()
        assert.ok(open() >= most && open() <= most + clientLimits.uploads, `${open()}`)
        assert.ok(count(way, '> PutFileReq') <= most + clientLimits.uploads)
        way.keepBack = new Set()
        way.release()
        await Promise.all(uploads.map(({ done }) => done))
        assert.deepEqual([stored.length, open()], [sources.length, 0])
      }))
  }
})

spec('a small file whose link is lost', (it) => {
  it('before its request arrives is sent again, and stored once', () =>
    run(async (rig, way, stored) => {
      const lost = first('PutFileReq')
      rig.transport.inspect = (frame) => !lost(frame)
      const upload = await rig.client({ to: way }).upload(memorySource('a', bytes))
      await upload.done
      assert.deepEqual([stored, rig.transport.dialled], [['a'], 2])
    }))

  for (const onConflict of ['replace', 'rename', 'reject'] as const) {
    it(`before its reply arrives is sent again, and stored once (${onConflict})`, () =>
      run(
        async (rig, way, stored) => {
          way.keepBack = new Set(['PutFileAck'])
          const upload = await rig.client({ to: way }).upload(memorySource('a', bytes))
          const phases = phasesOf(upload)
          while (stored.length === 0) await turn()
          way.keepBack = new Set()
          rig.transport.cut()
          const { storedName, replaced } = await upload.done
          await turn()
          assert.deepEqual([stored, storedName, replaced], [['a'], 'a', false])
          assert.deepEqual(phases.slice(-4), ['sending', 'waiting', 'sending', 'done'])
        },
        { onConflict },
      ))
  }

  it('waits for a place among the uploads if it is too long for one request on the next link', () =>
    run(async (rig, way, stored) => {
      way.keepBack = new Set(['PutFileAck'])
      const client = rig.client({ to: way })
      const uploads = await Promise.all(many(100, 20 * KiB).map((source) => client.upload(source)))
      // As many as may be unacknowledged on a new link.
      while (count(way, '> PutFileReq') < 3) await turn()
      // A link that acknowledged nothing is followed by one with shorter chunks.
      rig.transport.cut()
      way.keepBack = new Set()
      await Promise.all(uploads.map(({ done }) => done))
      assert.notEqual(count(way, '> ContinuePostFileReq'), 0)
      assert.deepEqual([count(way, '< ContinuePostFileNack'), stored.length], [0, 100])
    }))

  it('and whose source has changed meanwhile is stored as it is then', () =>
    run(async (rig, way, stored) => {
      way.keepBack = new Set(['PutFileAck'])
      const source = memorySource('a', bytes)
      const upload = await rig.client({ to: way }).upload(source)
      while (stored.length === 0) await turn()
      Object.assign(source, { bytes: patterned(2_000, 2), modifiedAt: 2_000 })
      way.keepBack = new Set()
      rig.transport.cut()
      assert.equal((await upload.done).size, 2_000)
      assert.deepEqual(rig.stored('alice', 'a'), patterned(2_000, 2))
    }))
})

/** Begins a small file that waits, since the rate is limited. */
async function limited(rig: UploadRig) {
  const client = rig.client({ limitRate: 10_000 })
  await (await client.upload(memorySource('first', patterned(maxPut)))).done
  const upload = await client.upload(memorySource('a', bytes))
  await until(upload, 'phase', () => upload.phase === 'sending')
  return { client, upload }
}

/** Begins a small file whose reply waits until `way.release`. */
async function unanswered(rig: UploadRig, way: RecordedTransport, stored: readonly string[]) {
  way.keepBack = new Set(['PutFileAck'])
  const client = rig.client({ to: way })
  const upload = await client.upload(memorySource('a', bytes))
  while (stored.length === 0) await turn()
  assert.equal(upload.phase, 'sending')
  return { client, upload }
}

spec('pausing a small file', (it) => {
  it('before it is sent sends nothing until it is resumed', () =>
    run(async (rig, _, stored) => {
      const { client, upload } = await limited(rig)
      await client.uploads.pause([upload.id])
      assert.deepEqual([upload.phase, stored], ['paused', ['first']])
      await client.uploads.resume([upload.id])
      await upload.done
      assert.deepEqual(stored, ['first', 'a'])
    }))

  it('while it is unanswered waits for the reply', () =>
    run(async (rig, way, stored) => {
      const { client, upload } = await unanswered(rig, way, stored)
      const pausing = client.uploads.pause([upload.id])
      assert.equal(upload.phase, 'paused')
      way.release()
      await pausing
      await upload.done
      assert.deepEqual([upload.phase, stored], ['done', ['a']])
    }))
})

spec('cancelling a small file', (it) => {
  it('before it is sent sends nothing', () =>
    run(async (rig, _, stored) => {
      const { client, upload } = await limited(rig)
      await client.uploads.cancel([upload.id])
      await assert.rejects(upload.done, { code: 'cancelled' })
      assert.deepEqual(stored, ['first'])
    }))

  it('while it is unanswered waits for the reply', () =>
    run(async (rig, way, stored) => {
      const { client, upload } = await unanswered(rig, way, stored)
      const cancelling = client.uploads.cancel([upload.id])
      assert.equal(upload.phase, 'cancelling')
      way.release()
      await cancelling
      assert.deepEqual([(await upload.done).storedName, count(way, '> CancelFileReq')], ['a', 0])
    }))
})

spec('the source of a small file', (it) => {
  const changes: readonly (readonly [string, (source: MemorySource) => void])[] = [
    ['that is written to', (source) => Object.assign(source, { modifiedAt: source.modifiedAt + 1 })],
    ['that becomes shorter', (source) => Object.assign(source, { bytes: source.bytes.slice(1) })],
  ]
  for (const [what, change] of changes) {
    it(`${what} while it is read is opened again, and its new content is sent`, () =>
      run(async (rig, _, stored) => {
        const source = memorySource('a', bytes)
        source.beforeRead = () => {
          if (source.opened === 1) change(source)
        }
        await (await rig.client().upload(source)).done
        assert.deepEqual(rig.stored('alice', 'a'), source.bytes)
        assert.deepEqual([stored, source.opened, source.notClosed], [['a'], 2, 0])
      }))

    it(`${what} each time fails, and nothing is sent`, () =>
      run(async (rig, _, stored) => {
        const source = memorySource('a', bytes)
        source.beforeRead = () => change(source)
        const upload = await rig.client().upload(source)
        await assert.rejects(upload.done, { code: 'source-changed' })
        assert.deepEqual([stored, source.notClosed], [[], 0])
      }))
  }
})
