import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { OnlineLink } from '../../../lib/client/connection/session.ts'
import { Interruption } from '../../../lib/client/uploads/interruption.ts'
import type { ClientUpload } from '../../../lib/client/uploads/upload.ts'
import { PutRequest } from '../../../lib/client/uploads/wholeFile.ts'
import type { Pacer } from '../../../lib/core/pacer.ts'
import { clientLimits, KiB, MiB } from '../../../lib/limits.ts'
import type { FileSource, TakeMemory, WholeContent } from '../../../lib/ports/source.ts'
import { memorySource, patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { UploadRig } from '../../support/uploadRig.ts'

type ReadWhole = NonNullable<FileSource['readWhole']>

/** Returns a source that is read with `read`, or opened if that does not succeed. */
function sourceWith(name: string, bytes: Uint8Array, read: ReadWhole) {
  return Object.assign(memorySource(name, bytes), { readWhole: read })
}

/** Returns a source that can be read in one call. */
const whole = (name: string, bytes: Uint8Array) =>
  sourceWith(name, bytes, async (maxBytes, take) => {
    if (bytes.length > maxBytes) return undefined
    const memory = await take(bytes.length)
    memory.set(bytes)
    return { content: memory.subarray(0, bytes.length), modifiedAt: 1_000 }
  })

async function run(prove: (rig: UploadRig) => Promise<void>): Promise<void> {
  await using rig = await UploadRig.start({ smallFileBytes: 256 * KiB })
  // The first file is added before the link exists.
  await (await rig.client().upload(memorySource('first', patterned(200 * KiB)))).done
  await prove(rig)
}

spec('a source that can be read in one call', (it) => {
  it('is not opened', () =>
    run(async (rig) => {
      const client = rig.client()
      await client.online()
      for (const size of [0, 1, 1_024]) {
        const source = whole(`${size}`, patterned(size))
        const upload = await client.upload(source)
        assert.equal((await upload.done).size, size)
        assert.deepEqual([source.opened, rig.stored('alice', `${size}`)], [0, patterned(size)])
      }
    }))

  it('is opened if it is too large for one request', () =>
    run(async (rig) => {
      const client = rig.client()
      await client.online()
      const source = whole('large', patterned(MiB))
      await (await client.upload(source)).done
      assert.deepEqual([source.opened, rig.stored('alice', 'large')], [1, patterned(MiB)])
    }))

  it('uses a bounded number of buffers, each of which is given back', () =>
    run(async (rig) => {
      const client = rig.client()
      await client.online()
      const sources = Array.from({ length: 10 * clientLimits.buffers }, (_, at) =>
        whole(`${at}`, patterned(100 * KiB, at + 1)),
      )
      const uploads = await Promise.all(sources.map((source) => client.upload(source)))
      await Promise.all(uploads.map(({ done }) => done))
      for (const { name, bytes } of sources) assert.deepEqual(rig.stored('alice', name), bytes)
    }))

  const failures: readonly (readonly [string, (take: TakeMemory) => Promise<unknown>])[] = [
    ['cannot be read', () => Promise.reject(new Error('denied'))],
    ['gives up after it has taken memory', async (take) => void (await take(100 * KiB))],
    ['gives no content', async () => ({ modifiedAt: 1 })],
    ['gives more than was asked for', async () => ({ content: new Uint8Array(2 * MiB), modifiedAt: 1 })],
    ['has no valid modification time', async () => ({ content: new Uint8Array(1), modifiedAt: -1 })],
  ]
  for (const [what, read] of failures) {
    it(`that ${what} is opened`, () =>
      run(async (rig) => {
        const client = rig.client()
        await client.online()
        const source = (at: number) =>
          sourceWith(
            `${at}`,
            patterned(100 * KiB, at + 1),
            (_, take) => read(take) as Promise<WholeContent | undefined>,
          )
        // More than there are buffers, all of which must be free again.
        const sources = Array.from({ length: 2 * clientLimits.buffers }, (_, at) => source(at))
        const uploads = await Promise.all(sources.map((each) => client.upload(each)))
        await Promise.all(uploads.map(({ done }) => done))
        for (const { name, bytes, opened } of sources) assert.deepEqual([rig.stored('alice', name), opened], [bytes, 1])
      }))
  }
})

spec('a file that is interrupted', (it) => {
  it('when the link admits it, is not sent, and gives its memory and its place back', async () => {
    let admitted = () => {}
    const calls: unknown[] = []
    const pace = {
      delayMs: () => 0,
      admit: () => false,
      queue: (_: number, admit: () => void) => {
        admitted = admit
        return { [Symbol.dispose]() {} }
      },
      refused: (bytes: number) => calls.push(bytes),
    } as unknown as Pacer
    const peer = { request: () => assert.fail('it was sent') }
    const { clock } = nodePlatform()
    const interruption = new Interruption()
    const link = { peer } as unknown as OnlineLink
    const together = (work: () => void) => work()
    const upload = { name: 'a', phase: 'sending' } as ClientUpload
    const whole = { content: patterned(10), modifiedAt: 1, giveBack: () => calls.push('memory') }
    const digest = { algorithm: 'md5', fileDigest: new Uint8Array(16) } as const
    const sending = new Promise((resolve, reject) => {
      const file = { ...whole, ...digest, upload, interruption, end: { resolve, reject } }
      new PutRequest(link, { platform: { clock }, pace, together }, [file], 10).start()
    })
    admitted()
    interruption.interrupt()
    await assert.rejects(sending, { code: 'closed' })
    assert.deepEqual(calls, ['memory', 10])
  })
})
