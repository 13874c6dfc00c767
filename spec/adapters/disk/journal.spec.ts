import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { frameBytes, journalHeaderBytes } from '../../../lib/adapters/disk/journalFormat.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Mailboxes } from '../../../lib/storage/mailboxes/mailboxes.ts'
import { writeSeqs } from '../../../lib/storage/mailboxes/records.ts'
import { append, long, message, roomy, waiting } from '../../../lib/testing/storage/mailSteps.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { spec } from '../../support/spec.ts'
import { flipped, format, found, journalOf, look, segmentsOf, withDirectory, withMailboxes } from './journalFixture.ts'

/** Returns the bytes of a segment with messages 1 to `count`, each in a group of its own. */
async function written(directory: string, count: number): Promise<Buffer> {
  await withMailboxes(directory, async (mailboxes) => {
    for (const number of upTo(count)) await append(mailboxes, message(number), ['bob'], roomy)
  })
  const [path] = await segmentsOf(directory)
  return readFile(path ?? '')
}

/** Returns the content of a journal of these bytes. Checks that the journal can be continued. */
async function foundIn(bytes: Uint8Array): Promise<{ numbers: number[]; damaged: number[][] }> {
  await using directory = await journalOf(bytes)
  const { numbers, damages } = await found(directory.path)
  await withMailboxes(directory.path, (mailboxes) => append(mailboxes, message(99), ['bob'], roomy))
  assert.deepEqual((await found(directory.path)).numbers, [...numbers, 99])
  return { numbers, damaged: damages.map(({ offset, bytes }) => [offset, bytes]) }
}

spec('the end of a journal on disk', (it) => {
  it(
    'is cut off at any place where a crash has ended the last record',
    withDirectory(async (directory) => {
      const bytes = await written(directory, 3)
      const { frames } = await look((await segmentsOf(directory))[0] ?? '')
      for (let length = frames[2]?.at ?? 0; length < bytes.length; length++) {
        assert.deepEqual(await foundIn(bytes.subarray(0, length)), { numbers: [1, 2], damaged: [] })
      }
    }),
  )

  it(
    'is cut off if its bytes are not those that were written',
    withDirectory(async (directory) => {
      const bytes = await written(directory, 3)
      const { frames } = await look((await segmentsOf(directory))[0] ?? '')
      for (let at = frames[2]?.at ?? 0; at < bytes.length; at++) {
        assert.deepEqual(await foundIn(flipped(bytes, at)), { numbers: [1, 2], damaged: [] })
      }
      assert.deepEqual(await foundIn(Buffer.concat([bytes, Buffer.alloc(5_000)])), { numbers: [1, 2, 3], damaged: [] })
    }),
  )

  it(
    'loses only the unreadable records of the last group, and reports them once',
    withDirectory(async (directory) => {
      await withMailboxes(directory, async (mailboxes) => {
        await append(mailboxes, message(1), ['bob'], roomy)
        await Promise.all([2, 3, 4].map((number) => append(mailboxes, message(number), ['bob'], roomy)))
      })
      const { bytes, frames } = await look((await segmentsOf(directory))[0] ?? '')
      const third = flipped(bytes, (frames[2]?.end ?? 0) - 1)
      assert.deepEqual(await foundIn(third), { numbers: [1, 2, 4], damaged: [] })
    }),
  )

  it(
    'can be a segment without a record',
    withDirectory(async (directory) => {
      const bytes = await written(directory, 2)
      for (let length = 0; length <= journalHeaderBytes; length++) {
        assert.deepEqual(await foundIn(bytes.subarray(0, length)), { numbers: [], damaged: [] })
      }
    }),
  )
})

spec('a damaged journal on disk', (it) => {
  it(
    'loses and reports damaged records, and returns all others',
    withDirectory(async (directory) => {
      const bytes = await written(directory, 3)
      const { frames } = await look((await segmentsOf(directory))[0] ?? '')
      const { at = 0, end = 0 } = frames[1] ?? {}
      for (let place = at; place < end; place++) {
        assert.deepEqual(await foundIn(flipped(bytes, place)), { numbers: [1, 3], damaged: [[at, end - at]] })
      }
    }),
  )

  it(
    'loses a record of a group that is known to be durable',
    withDirectory(async (directory) => {
      await withMailboxes(directory, async (mailboxes) => {
        await Promise.all([1, 2, 3].map((number) => append(mailboxes, message(number), ['bob'], roomy)))
        await append(mailboxes, message(4), ['bob'], roomy)
      })
      const { bytes, frames } = await look((await segmentsOf(directory))[0] ?? '')
      const { at = 0, end = 0 } = frames[1] ?? {}
      assert.deepEqual(await foundIn(flipped(bytes, end - 1)), { numbers: [1, 3, 4], damaged: [[at, end - at]] })
    }),
  )

  it(
    'is readable with one half of its header; without both halves one segment is lost',
    withDirectory(async (directory) => {
      const bytes = await written(directory, 2)
      for (let at = 0; at < journalHeaderBytes; at++)
        assert.deepEqual((await foundIn(flipped(bytes, at))).numbers, [1, 2])
      const both = flipped(flipped(bytes, 9), journalHeaderBytes / 2 + 9)
      assert.deepEqual(await foundIn(both), { numbers: [], damaged: [[0, both.length]] })
    }),
  )

  it('of another version is not changed', async () => {
    const half = Buffer.alloc(16)
    half.write('ospdlog2', 'latin1')
    half.writeUInt32BE(nodePlatform().crc32(half.subarray(0, 12)), 12)
    await using directory = await journalOf(Buffer.concat([half, half, Buffer.alloc(100)]))
    await assert.rejects(found(directory.path), { code: 'data-format' })
  })

  it(
    'reads no record from the content of a message',
    withDirectory(async (directory) => {
      // The guessed seed differs from that of the journal.
      const { bytes: forged } = format.frame([writeSeqs('removed', { user: 'bob', seqs: [1] })], 12_345)
      await withMailboxes(directory, async (mailboxes) => {
        await append(mailboxes, message(1), ['bob'], roomy)
        await append(mailboxes, message(2, { content: Buffer.concat([forged, forged]) }), ['bob'], roomy)
        await append(mailboxes, message(3), ['bob'], roomy)
      })
      const { bytes, frames } = await look((await segmentsOf(directory))[0] ?? '')
      const { numbers } = await foundIn(flipped(bytes, (frames[1]?.at ?? 0) + frameBytes - 1))
      assert.deepEqual(numbers, [1, 3])
    }),
  )

  it(
    'loses a record that is found damaged when it is read, and reports it once',
    withDirectory(async (directory) => {
      await written(directory, 3)
      const [path = ''] = await segmentsOf(directory)
      const { bytes, frames } = await look(path)
      const { at = 0, end = 0 } = frames[1] ?? {}
      await withMailboxes(directory, async (mailboxes) => {
        await writeFile(path, flipped(bytes, end - 1))
        assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
        assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
        assert.equal((await mailboxes.levels())[0]?.messages, 2)
        assert.deepEqual(await mailboxes.damages(), [{ file: path, offset: at, bytes: end - at, atEnd: false }])
      })
    }),
  )

  it(
    'loses a record that is found damaged when it is moved',
    withDirectory(async (directory) => {
      const before = await written(directory, 3)
      const [path = ''] = await segmentsOf(directory)
      const move = async (mailboxes: Mailboxes) => {
        const { end = 0 } = (await look(path)).frames[1] ?? {}
        await writeFile(path, flipped(before, end - 1))
        const fill = async (from: number) => {
          for (const number of upTo(60)) {
            await append(mailboxes, long(from + number, 300), ['eve'], roomy)
            await mailboxes.remove('eve', [await mailboxes.lastSeq()])
          }
        }
        await fill(1_000)
        assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
        assert.equal((await segmentsOf(directory))[0], path)
        assert.equal((await mailboxes.damages()).length, 1)
        await fill(2_000)
      }
      await withMailboxes(directory, move, 200)
      assert.deepEqual((await found(directory)).numbers, [1, 3])
      assert.notEqual(basename((await segmentsOf(directory))[0] ?? ''), '00000001.log')
    }),
  )
})
