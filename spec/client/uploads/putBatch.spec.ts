import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { OnlineLink } from '../../../lib/client/connection/session.ts'
import { Interruption } from '../../../lib/client/uploads/interruption.ts'
import type { ClientUpload } from '../../../lib/client/uploads/upload.ts'
import { type PreparedFile, PutBatch } from '../../../lib/client/uploads/wholeFile.ts'
import { Pacer } from '../../../lib/core/pacer.ts'
import { OspError } from '../../../lib/errors.ts'
import { clientLimits, KiB, MiB } from '../../../lib/limits.ts'
import type { FileSource } from '../../../lib/ports/source.ts'
import type { SentFile } from '../../../lib/ports/storage.ts'
import { putFilesHeadBytes } from '../../../lib/wire/frame.ts'
import { encode, type WireMessage } from '../../../lib/wire/message.ts'
import { features } from '../../../lib/wire/protocol.ts'
import { concatenated } from '../../support/bytes.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { MemoryTasks } from '../../support/memoryTasks.ts'
import { recordedTransport } from '../../support/recordedTransport.ts'
import { spec } from '../../support/spec.ts'
import { UploadRig } from '../../support/uploadRig.ts'

type Put = WireMessage<'PutFileReq'> | WireMessage<'PutFilesReq'>

interface Sent {
  readonly message: Put
  readonly waiting: { resolve(ack: WireMessage): void; reject(error: unknown): void }
  isAbandoned: boolean
}

const { putFiles, putFilesBytes, putFilesFileBytes } = clientLimits

/** A link whose requests a spec answers, and a batch for it. `isHanded`: the socket takes the requests. */
function batchOn(offered: number = features.putFiles, isHanded = true, maxFrame = 4 * MiB) {
  const requests: Sent[] = []
  const peer = {
    ended: undefined,
    request(message: Put, waiting: Sent['waiting']) {
      requests.push({ message, waiting, isAbandoned: false })
      return requests.length
    },
    isAwaitingReply: () => isHanded,
    abandon(seq: number) {
      const request = requests[seq - 1] as Sent
      request.isAbandoned = true
      request.waiting.reject(new OspError('closed'))
    },
  }
  const welcome = { maxFrame, maxPut: MiB, features: offered }
  const pace = new Pacer()
  pace.reset(0, 1)
  // An acknowledged chunk shows that the link is fast.
  pace.sent(MiB, 0)
  pace.acknowledged(MiB, 1)
  const clock = { ...nodePlatform().clock, now: () => 2 }
  const link = { peer, welcome } as unknown as OnlineLink
  return { batch: new PutBatch(link, { platform: { clock }, pace, together: (work) => work() }), requests, pace }
}

/** A file to send, and how it ended. */
function fileOf(name: string, content: Uint8Array = patterned(100)) {
  const interruption = new Interruption()
  const ends: (SentFile | unknown)[] = []
  const upload = { name, phase: 'sending', transferred: 0, move() {} } as unknown as ClientUpload
  const end = { resolve: (file: SentFile) => ends.push(file.storedName), reject: (error: unknown) => ends.push(error) }
  const prepared: PreparedFile = {
    ...{ content, modifiedAt: 1, giveBack: undefined, upload, algorithm: 'md5', fileDigest: new Uint8Array(16) },
    ...{ interruption, end: end as unknown as PreparedFile['end'] },
  }
  return { prepared, interruption, ends }
}

const namesOf = ({ message }: Sent) =>
  message.event === 'PutFileReq' ? message.fileName : message.files.map(({ fileName }) => fileName)

const stored = (...names: string[]) => names.map((storedName) => ({ storedName, replaced: 0 }))

spec('the small files of a client', (it) => {
  it('share requests, up to a number of files, of bytes of their content and of bytes of their names', () => {
    const cases: readonly (readonly [number, string, number, number])[] = [
      [2 * putFiles + 1, '', 100, 3],
      [2 * Math.floor(putFilesBytes / putFilesFileBytes) + 1, '', putFilesFileBytes, 3],
      [40, 'ä'.repeat(200), 1, 2],
    ]
    for (const [count, prefix, bytes, expected] of cases) {
      const { batch, requests } = batchOn()
      const files = Array.from({ length: count }, (_, at) => fileOf(`${prefix}${at}`, patterned(bytes, at)))
      for (const { prepared } of files) batch.add(prepared)
      batch.flush()
      assert.ok(requests.length >= expected, `${requests.length}`)
      assert.deepEqual(
        requests.flatMap(namesOf),
        files.map(({ prepared }) => prepared.upload.name),
      )
      for (const { message } of requests) {
        const headBytes = concatenated(encode(message)).length - concatenated(message.content).length
        assert.ok(headBytes <= putFilesHeadBytes && concatenated(message.content).length <= putFilesBytes)
      }
      const contents = requests.map(({ message }) => concatenated(message.content))
      assert.deepEqual(concatenated(contents), concatenated(files.map(({ prepared }) => prepared.content)))
    }
  })

  it('are sent alone if they are larger, or if the server takes only one in each request', () => {
    for (const [offered, bytes] of [
      [features.putFiles, putFilesFileBytes + 1],
      [features.storedFiles, 1],
      [features.storedFiles, 0],
    ] as const) {
      const { batch, requests } = batchOn(offered)
      for (const name of ['a', 'b']) batch.add(fileOf(name, patterned(bytes)).prepared)
      batch.flush()
      assert.deepEqual(requests.map(namesOf), ['a', 'b'])
    }
  })

  it('share only requests that fit into a frame of the server', () => {
    for (const [maxFrame, bytes] of [
      [4 * KiB, 20],
      [24 * KiB, 440],
      [88 * KiB, 1_650],
    ] as const) {
      const { batch, requests } = batchOn(features.putFiles, true, maxFrame)
      const files = Array.from({ length: 200 }, (_, at) => fileOf(`${'a'.repeat(80)}${at}`, patterned(bytes, at)))
      for (const { prepared } of files) batch.add(prepared)
      batch.flush()
      assert.equal(requests.flatMap(namesOf).length, files.length)
      for (const { message } of requests) assert.ok(concatenated(encode(message)).length <= maxFrame, `${maxFrame}`)
    }
  })

  it('each have the result that the server reports for them', () => {
    const { batch, requests, pace } = batchOn()
    const files = ['a', 'b', 'c'].map((name) => fileOf(name))
    for (const { prepared } of files) batch.add(prepared)
    batch.flush()
    const refused = [{ file: 1, code: 19, retryAfter: 0, text: 'it exists' }]
    requests[0]?.waiting.resolve({ event: 'PutFilesAck', stored: stored('a', 'c (1)'), refused })
    const ends = files.map(({ ends: [end] }) => (end instanceof OspError ? end.code : end))
    assert.deepEqual(ends, ['a', 'file-exists', 'c (1)'])
    assert.ok(pace.admit(pace.boundBytes, 2), 'their bytes still count as in flight')
  })

  it('fail if the reply does not have one valid result for each', () => {
    for (const names of [[], ['a', 'b', 'c'], ['a', '../b']]) {
      const { batch, requests } = batchOn()
      const files = ['a', 'b'].map((name) => fileOf(name))
      for (const { prepared } of files) batch.add(prepared)
      batch.flush()
      requests[0]?.waiting.resolve({ event: 'PutFilesAck', stored: stored(...names), refused: [] })
      for (const { ends } of files)
        assert.deepEqual(
          ends.map((end) => OspError.from(end).code),
          ['malformed'],
        )
    }
  })

  it('are sent without those that are interrupted while the request waits', () => {
    const { batch, requests, pace } = batchOn(features.putFiles, false)
    const files = ['a', 'b', 'c'].map((name) => fileOf(name))
    for (const { prepared } of files) batch.add(prepared)
    batch.flush()
    files[1]?.interruption.interrupt()
    assert.deepEqual(requests.map(namesOf), [
      ['a', 'b', 'c'],
      ['a', 'c'],
    ])
    assert.deepEqual(
      requests.map(({ isAbandoned }) => isAbandoned),
      [true, false],
    )
    for (const at of [0, 2]) files[at]?.interruption.interrupt()
    assert.deepEqual(
      requests.map(({ isAbandoned }) => isAbandoned),
      [true, true, true],
    )
    for (const { ends } of files)
      assert.deepEqual(
        ends.map((end) => OspError.from(end).code),
        ['closed'],
      )
    assert.ok(pace.admit(pace.boundBytes, 2), 'their bytes still count as in flight')
  })

  it('are not interrupted after they were sent, since the server stores them anyway', () => {
    const { batch, requests } = batchOn()
    const files = ['a', 'b'].map((name) => fileOf(name))
    for (const { prepared } of files) batch.add(prepared)
    batch.flush()
    files[0]?.interruption.interrupt()
    assert.deepEqual([requests.length, files[0]?.ends], [1, []])
  })
})

/** Returns a source that is read at once. */
function whole(name: string, bytes: Uint8Array): FileSource {
  return { ...memorySource(name, bytes), readWhole: () => ({ content: bytes, modifiedAt: 1_000 }) }
}

spec('uploads that are added together', (it) => {
  it('are stored with few requests, and again after a lost link', async () => {
    for (const isCut of [false, true]) {
      await using rig = await UploadRig.start({ smallFileBytes: 256 * KiB })
      const way = recordedTransport(rig.transport)
      const client = rig.client({ to: way })
      await client.online()
      const sources = Array.from({ length: 200 }, (_, at) => whole(`${at}`, patterned(500, at + 1)))
      let requests = 0
      way.sent = (event) => {
        if (event === 'PutFilesReq' && ++requests === 2 && isCut) rig.transport.cut()
      }
      const uploads = await client.uploadAll(sources)
      for (const upload of uploads) {
        assert.ok(!(upload instanceof OspError))
        await upload.done
      }
      for (const [at, { name }] of sources.entries())
        assert.deepEqual(rig.stored('alice', name), patterned(500, at + 1))
      assert.ok(requests > 0 && requests < 20, `${requests}`)
    }
  })

  it('fill their requests, although the first ones on a link are short', async () => {
    await using rig = await UploadRig.start({ smallFileBytes: 256 * KiB })
    const way = recordedTransport(rig.transport)
    const client = rig.client({ to: way })
    const { smallFiles, firstChunkBytes } = clientLimits
    const count = 4 * smallFiles
    const sources = Array.from({ length: count }, (_, at) => whole(`${at}`, patterned(KiB, at + 1)))
    let requests = 0
    way.sent = (event) => {
      if (event === 'PutFilesReq') requests++
    }
    for (const upload of await client.uploadAll(sources)) {
      assert.ok(!(upload instanceof OspError))
      await upload.done
    }
    const short = (smallFiles * KiB) / firstChunkBytes
    const full = (count - smallFiles) / putFiles
    // Some requests at the beginning and at the end have other numbers of files.
    assert.ok(requests <= short + full + 6, `${requests}`)
  })

  it('fail alone if the state cannot store that they continue', async () => {
    await using rig = await UploadRig.start()
    const tasks = new MemoryTasks()
    const sources = ['a', 'b'].map((name) => tasks.source(memorySource(name, patterned(10))))
    tasks.kept.set(1, { id: 1, ref: 'a', name: 'a', algorithm: 'md5', state: 'paused', size: 0, durable: 0 })
    tasks.before = async (change) => {
      if (typeof change === 'object' && change.name === 'a') throw new OspError('disk-full')
      // The task of the other is stored after this failure.
      await setImmediate()
    }
    const results = await rig.client({ state: tasks.state }).uploadAll(sources)
    assert.deepEqual(
      results.map((result) => (result instanceof OspError ? result.code : result.name)),
      ['disk-full', 'b'],
    )
  })

  it('are rejected after the client was closed, whatever their sources are', async () => {
    await using rig = await UploadRig.start()
    const client = rig.client()
    await client.close()
    await assert.rejects(client.uploadAll([new Blob(['a'])]), { code: 'closed' })
    await setImmediate()
  })

  it('have a result each: an upload, or the error for which it cannot be added', async () => {
    await using rig = await UploadRig.start({ smallFileBytes: 256 * KiB })
    const client = rig.client()
    const bytes = patterned(10)
    const results = await client.uploadAll([whole('a', bytes), whole('a:b', bytes), whole('a', bytes), bytes])
    const codes = results.map((result) => (result instanceof OspError ? result.code : result.name))
    assert.deepEqual(codes, ['a', 'bad-name', 'usage', 'usage'])
    await assert.rejects(client.uploadAll([], { name: 'a' } as object), { code: 'usage' })
    await assert.rejects(client.uploadAll('a' as unknown as string[]), { code: 'usage' })
  })
})
