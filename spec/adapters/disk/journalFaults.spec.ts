import assert from 'node:assert/strict'
import { type FileHandle, link, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { append, long, message, roomy, waiting } from '../../../lib/testing/storage/mailSteps.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { ballast } from '../../support/ballast.ts'
import { failingFlushes } from '../../support/failingFlushes.ts'
import { spec } from '../../support/spec.ts'
import { canMount, smallDisk } from '../../testing/storage/places.ts'
import { opened, withData } from './data.ts'
import { format, found, journalOf, segmentsOf, withDirectory, withMailboxes } from './journalFixture.ts'

const first = (nth: number) => nth === 1

/** Makes every truncation of a file fail. All file handles share one prototype. */
async function uncuttable(directory: string): Promise<Disposable> {
  const handle = await open(directory)
  const shared: { truncate: FileHandle['truncate'] } = Object.getPrototypeOf(handle)
  await handle.close()
  const { truncate } = shared
  shared.truncate = async () => {
    throw Object.assign(new Error('EIO: i/o error, ftruncate'), { code: 'EIO' })
  }
  return { [Symbol.dispose]: () => Object.assign(shared, { truncate }) }
}

/** Makes reads of this byte fail. The fourth argument of a read is its position. */
async function unreadable(directory: string, byte: number): Promise<Disposable> {
  const handle = await open(directory)
  const shared = Object.getPrototypeOf(handle)
  await handle.close()
  const real: (this: FileHandle, ...args: unknown[]) => unknown = shared.read
  shared.read = async function (this: FileHandle, ...args: unknown[]) {
    const [, , length, position] = args.map(Number)
    if (Number(position) <= byte && byte < Number(position) + Number(length)) {
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    }
    return real.apply(this, args)
  }
  return {
    [Symbol.dispose]: () => {
      shared.read = real
    },
  }
}

spec('a journal on a disk with faults', (it) => {
  it(
    'opens a segment again that could not be opened once',
    withDirectory(async (directory) => {
      await withMailboxes(
        directory,
        async (mailboxes) => {
          for (const number of upTo(12)) await append(mailboxes, long(number, 600), ['bob'], roomy)
        },
        500,
      )
      await withMailboxes(directory, async (mailboxes) => {
        const [oldest = ''] = await segmentsOf(directory)
        const other = `${directory}-other`
        await link(oldest, other)
        await assert.rejects(waiting(mailboxes, 'bob'), { code: 'storage-unusable' })
        await rm(other)
        assert.deepEqual(await waiting(mailboxes, 'bob'), upTo(12))
      })
    }),
  )

  it(
    'returns all records outside of an unreadable block',
    withDirectory(async (directory) => {
      await withMailboxes(directory, async (mailboxes) => {
        for (const number of upTo(20)) await append(mailboxes, long(number, 2_000), ['bob'], roomy)
      })
      using _ = await unreadable(directory, 20_000)
      const { numbers, damages } = await found(directory)
      assert.ok(numbers.length >= 16 && numbers.length < 20, `${numbers.length} of 20`)
      assert.deepEqual([numbers[0], numbers.at(-1)], [1, 20])
      assert.equal(damages.length, 1)
      const [{ offset, bytes } = { offset: 0, bytes: 0 }] = damages
      assert.ok(offset <= 20_000 && 20_000 < offset + bytes)
    }),
  )

  for (const [errno, code] of [
    ['EIO', 'internal'],
    ['ENOSPC', 'disk-full'],
  ] as const) {
    it(
      `continues in another segment after a flush that failed with ${errno}, without the records of that flush`,
      withDirectory(async (directory) => {
        await withMailboxes(directory, async (mailboxes) => {
          await append(mailboxes, message(1), ['bob'], roomy)
          {
            using _ = await failingFlushes(directory, first, errno)
            await assert.rejects(append(mailboxes, message(2), ['bob'], roomy), { code })
          }
          await append(mailboxes, message(3), ['bob'], roomy)
          assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3])
        })
        assert.equal((await segmentsOf(directory)).length, 2)
        assert.deepEqual(await found(directory), { numbers: [1, 3], damages: [] })
        await withMailboxes(directory, async (mailboxes) => {
          await append(mailboxes, message(2), ['bob'], roomy)
          assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 3, 2])
        })
      }),
    )
  }

  it(
    'accepts no records until it is reopened if the bytes of a failed flush cannot be removed',
    withDirectory(async (directory) => {
      await withMailboxes(directory, async (mailboxes) => {
        await append(mailboxes, message(1), ['bob'], roomy)
        {
          using _ = await failingFlushes(directory, first)
          using __ = await uncuttable(directory)
          await assert.rejects(append(mailboxes, message(2), ['bob'], roomy), { code: 'internal' })
        }
        await assert.rejects(append(mailboxes, message(3), ['bob'], roomy), { code: 'internal' })
        await assert.rejects(mailboxes.remove('bob', [1]), { code: 'internal' })
        assert.deepEqual(await waiting(mailboxes, 'bob'), [1])
      })
      // The message that was refused with `internal` exists nevertheless.
      assert.deepEqual(await found(directory), { numbers: [1, 2], damages: [] })
      await withMailboxes(directory, async (mailboxes) => {
        await append(mailboxes, message(2), ['bob'], roomy)
        await append(mailboxes, message(3), ['bob'], roomy)
        assert.deepEqual(await waiting(mailboxes, 'bob'), [1, 2, 3])
      })
    }),
  )

  it(
    'flushes the end again when it is opened, since an earlier flush may have failed',
    withDirectory(async (directory) => {
      await withMailboxes(directory, (mailboxes) => append(mailboxes, message(1), ['bob'], roomy))
      using _ = await failingFlushes(directory, first)
      await assert.rejects(found(directory), { code: 'internal' })
      assert.deepEqual((await found(directory)).numbers, [1])
    }),
  )

  it('flushes the end again also if there is only a header', async () => {
    await using directory = await journalOf(format.header(1))
    using _ = await failingFlushes(directory.path, first)
    await assert.rejects(found(directory.path), { code: 'internal' })
    assert.deepEqual((await found(directory.path)).numbers, [])
  })

  const full = 'has no record that did not fit, and continues when there is space again'
  if (!canMount) it.skip(full, 'no disk can be mounted here')
  else
    it(full, async () => {
      await using small = await smallDisk(400_000)
      const directory = join(small.path, 'mailboxes')
      const ballast = join(small.path, 'ballast')
      await withMailboxes(directory, async (mailboxes) => {
        await append(mailboxes, message(1), ['bob'], roomy)
        await writeFile(ballast, new Uint8Array(1_000_000)).catch(() => {})
        const many = upTo(2_000).map((number) => append(mailboxes, message(10 + number), ['bob'], roomy))
        const outcomes = await Promise.allSettled(many)
        for (const outcome of outcomes) assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'disk-full')
        const [path = ''] = await segmentsOf(directory)
        assert.ok((await readFile(path)).length < 4_096)
        await rm(ballast)
        await append(mailboxes, message(2), ['bob'], roomy)
      })
      assert.deepEqual(await found(directory), { numbers: [1, 2], damages: [] })
    })

  const part = 'has no part of a record that did not fit, and continues in the same segment'
  if (!canMount) it.skip(part, 'no disk can be mounted here')
  else
    it(part, async () => {
      await using small = await smallDisk(400_000)
      const directory = join(small.path, 'mailboxes')
      await withMailboxes(directory, async (mailboxes, journal) => {
        await append(mailboxes, message(1), ['bob'], roomy)
        using _ = ballast(small.path, 20_000)
        await assert.rejects(journal.append([Buffer.alloc(100_000, 1)]), { code: 'disk-full' })
        await append(mailboxes, message(2), ['bob'], roomy)
      })
      assert.equal((await segmentsOf(directory)).length, 1)
      assert.deepEqual(await found(directory), { numbers: [1, 2], damages: [] })
    })
})

spec('a data directory', (it) => {
  it(
    'without mailboxes gets a directory for them that only the owner can read',
    withData(async (data) => {
      await (await opened(data))[Symbol.asyncDispose]()
      await rm(join(data, 'mailboxes'), { recursive: true })
      await using storage = await opened(data)
      await append(storage.mailboxes, message(1), ['bob'], roomy)
      const [path = ''] = await segmentsOf(join(data, 'mailboxes'))
      assert.equal((await stat(path)).mode & 0o777, 0o600)
      assert.equal((await stat(join(data, 'mailboxes'))).mode & 0o777, 0o700)
    }),
  )
})
