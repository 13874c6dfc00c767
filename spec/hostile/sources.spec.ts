import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { file } from '../../lib/adapters/node/fileSource.ts'
import { clientLimits, KiB, MiB } from '../../lib/limits.ts'
import type { FileSource, OpenSource } from '../../lib/ports/source.ts'
import { type Place, place } from '../support/commands.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import { spec } from '../support/spec.ts'
import { UploadRig } from '../support/uploadRig.ts'

const bytes = patterned(3 * MiB)
const other = patterned(2 * MiB, 9)

/** The open files of this process below a directory (Linux only). */
async function handlesBelow(directory: string): Promise<string[]> {
  const numbers = await readdir('/proc/self/fd').catch(() => [])
  const paths = await Promise.all(numbers.map((number) => readlink(`/proc/self/fd/${number}`).catch(() => '')))
  return paths.filter((path) => path.startsWith(directory))
}

/** Wraps a source: an action happens when its middle is read, at most `times` times. */
function meddled(source: FileSource, meddle: () => Promise<void>, times = 1): FileSource & { opened: number } {
  let left = times
  const self = {
    name: source.name,
    opened: 0,
    async open(signal: AbortSignal) {
      const open = await source.open(signal)
      self.opened++
      return {
        size: open.size,
        modifiedAt: open.modifiedAt,
        async read(into: Uint8Array, offset: number) {
          if (offset >= MiB && left > 0) {
            left--
            await meddle()
          }
          return open.read(into, offset)
        },
        unchanged: () => open.unchanged(),
        [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
      }
    },
  }
  return self
}

interface Failing {
  readonly there: Place
  readonly path: string
}

/** Sends the source from `bad` beside two good files. Fails unless only it fails and nothing is left of it. */
async function failsAlone(
  bad: (at: Failing) => Promise<FileSource>,
  fault: { code: string; message: RegExp },
): Promise<void> {
  await using there = await place()
  const path = join(there.path, 'movie.bin')
  await writeFile(path, bytes)
  await using rig = await UploadRig.start({ chunkBytes: 256 * KiB })
  const client = rig.client()
  const source = await bad({ there, path })
  const before = await client.upload(memorySource('before', other))
  const failing = await client.upload(source, { name: 'movie.bin' })
  const after = await client.upload(memorySource('after', other))
  await assert.rejects(failing.done, fault)
  assert.equal(failing.phase, 'failed')
  await Promise.all([before.done, after.done])
  assert.deepEqual(rig.server.status().uploads, [], 'an instance is not free')
  assert.deepEqual(await handlesBelow(there.path), [], 'a handle is open')
  assert.equal(rig.stored('alice', 'movie.bin'), undefined)
  assert.deepEqual([rig.stored('alice', 'before'), rig.stored('alice', 'after')], [other, other])
}

/** Sends a file that is changed once. Fails unless the final content is stored. */
async function beginsAgain(meddle: (path: string) => Promise<void>, end: Uint8Array): Promise<void> {
  await using there = await place()
  const path = join(there.path, 'movie.bin')
  await writeFile(path, bytes)
  await using rig = await UploadRig.start({ chunkBytes: 256 * KiB })
  const source = meddled(file(path), () => meddle(path))
  await (await rig.client().upload(source)).done
  assert.equal(source.opened, 2)
  assert.deepEqual(rig.stored('alice', 'movie.bin'), end)
  assert.deepEqual(await handlesBelow(there.path), [])
}

spec('an unreadable source fails alone, with an error that names it,', (it) => {
  it('if it does not exist', () =>
    failsAlone(async ({ there }) => file(join(there.path, 'none')), {
      code: 'source-missing',
      message: /\/none does not exist; check the path$/u,
    }))

  it('if it is below a file', () =>
    failsAlone(async ({ path }) => file(join(path, 'none')), {
      code: 'source-missing',
      message: /movie\.bin\/none does not exist; check the path$/u,
    }))

  it('if it is a link to nothing', () =>
    failsAlone(
      async ({ there }) => {
        await symlink('nowhere', join(there.path, 'link'))
        return file(join(there.path, 'link'))
      },
      { code: 'source-missing', message: /\/link does not exist; check the path$/u },
    ))

  it('if it is a link to itself', () =>
    failsAlone(
      async ({ there }) => {
        await symlink('loop', join(there.path, 'loop'))
        return file(join(there.path, 'loop'))
      },
      { code: 'source-unreadable', message: /\/loop cannot be read: .*links form a loop.* \(ELOOP\)$/u },
    ))

  it('if it is a directory', () =>
    failsAlone(async ({ path }) => file(dirname(path)), {
      code: 'source-unreadable',
      message: /is not a regular file; specify a file$/u,
    }))

  it('if it is a pipe without a writer', () =>
    failsAlone(
      async ({ there }) => {
        spawnSync('mkfifo', [join(there.path, 'pipe')])
        return file(join(there.path, 'pipe'))
      },
      { code: 'source-unreadable', message: /\/pipe is not a regular file; specify a file$/u },
    ))

  it('if it is a device without an end', () =>
    failsAlone(async () => file('/dev/zero'), {
      code: 'source-unreadable',
      message: /^\/dev\/zero is not a regular file; specify a file$/u,
    }))

  if (process.getuid?.() === 0) it.skip('if it may not be read', 'root may read everything')
  else {
    it('if it may not be read', () =>
      failsAlone(
        async ({ path }) => {
          await chmod(path, 0)
          return file(path)
        },
        {
          code: 'source-unreadable',
          message: /movie\.bin cannot be read: permission denied; change its permissions, or run as its owner$/u,
        },
      ))
  }

  it('if it vanished after it was added and before its turn', () =>
    failsAlone(
      async ({ path }) => {
        const source = file(path)
        await rm(path)
        return source
      },
      { code: 'source-missing', message: /movie\.bin does not exist; check the path$/u },
    ))

  it('if it vanishes while it is sent', () =>
    failsAlone(async ({ path }) => meddled(file(path), () => rm(path)), {
      code: 'source-missing',
      message: /movie\.bin does not exist; check the path$/u,
    }))

  it('if a directory takes its place while it is sent', () =>
    failsAlone(
      async ({ path }) =>
        meddled(file(path), async () => {
          await rm(path)
          await mkdir(path)
        }),
      { code: 'source-unreadable', message: /movie\.bin is not a regular file; specify a file$/u },
    ))

  const fields = {
    size: ['NaN', -1, 1.5, Number.NaN, Infinity, '5', undefined, null, 5n],
    modifiedAt: [Number.NaN, -1, 0.5, Infinity, 2 ** 53],
  }
  for (const [field, values] of Object.entries(fields)) {
    for (const value of values) {
      it(`if its ${field} is ${typeof value} ${String(value)}`, () =>
        failsAlone(
          async () => ({
            name: 'movie.bin',
            open: async (signal) =>
              ({ ...(await memorySource('odd', bytes).open(signal)), [field]: value }) as unknown as OpenSource,
          }),
          {
            code: 'usage',
            message: new RegExp(
              `^the source of movie\\.bin is invalid: its ${field} is .*; it must be a whole number`,
              'u',
            ),
          },
        ))
    }
  }

  for (const size of [2 ** 53, 2 ** 53 + 2, 2 ** 64, 1e300]) {
    it(`if it has ${size} bytes, more than the protocol supports`, () =>
      failsAlone(
        async () => ({
          name: 'movie.bin',
          open: async (signal) => ({ ...(await memorySource('odd', bytes).open(signal)), size }),
        }),
        {
          code: 'too-large',
          message: /^movie\.bin has more than 9007199254740991 bytes \(8 PiB\), the maximum size of a file$/u,
        },
      ))
  }

  it('if it opens nothing', () =>
    failsAlone(async () => ({ name: 'movie.bin', open: async () => undefined as never }), {
      code: 'usage',
      message: /^the source of movie\.bin is invalid: open\(\) resolved with undefined, which must be an object/u,
    }))

  it('if its read does not resolve with a count of bytes', () =>
    failsAlone(
      async () => ({
        name: 'movie.bin',
        open: async (signal) => ({ ...(await memorySource('odd', bytes).open(signal)), read: async () => Number.NaN }),
      }),
      { code: 'usage', message: /^the source of movie\.bin is invalid: read\(\) resolved with NaN for \d+ bytes$/u },
    ))

  it('if it is a custom source that throws arbitrary errors', () =>
    failsAlone(
      async ({ path }) =>
        meddled(file(path), async () => {
          throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
        }),
      { code: 'source-unreadable', message: /^movie\.bin cannot be read: EIO: i\/o error, read$/u },
    ))
})

spec('a source that changes while it is sent', (it) => {
  it('is sent again if it grows', () =>
    beginsAgain((path) => appendFile(path, other), Uint8Array.from(Buffer.concat([bytes, other]))))

  it('is sent again if it shrinks', () => beginsAgain((path) => truncate(path, MiB + 7), bytes.subarray(0, MiB + 7)))

  it('is sent again if it becomes empty', () => beginsAgain((path) => truncate(path, 0), new Uint8Array()))

  it('is sent again if another file takes its place', () =>
    beginsAgain(async (path) => {
      await writeFile(`${path}.new`, other)
      await rename(`${path}.new`, path)
    }, other))

  const edited = Uint8Array.from(bytes).fill(7, 1_000, 2_000)
  /** Changes bytes that were already sent, and nothing that most tools check. */
  const edit = async (path: string) => {
    const { atime, mtime } = await stat(path)
    await writeFile(path, edited)
    await utimes(path, atime, mtime)
  }

  it('is sent again if it keeps its size, and its modification time is set back', () => beginsAgain(edit, edited))

  it('is read again and not refused if only its permissions change', () =>
    beginsAgain((path) => chmod(path, 0o640), bytes))

  it('is stored in its final state if it was edited between two runs of the client, and its time was set back', async () => {
    await using there = await place()
    const path = join(there.path, 'movie.bin')
    await writeFile(path, bytes)
    await using rig = await UploadRig.start({ chunkBytes: 256 * KiB })
    const first = rig.client()
    const begun = await first.upload(meddled(file(path), async () => void first.close()))
    await assert.rejects(begun.done, { code: 'closed' })
    assert.ok(begun.progress.acknowledged > 0, 'nothing was sent before')
    await first.close()
    await edit(path)
    await (await rig.client().upload(file(path))).done
    assert.deepEqual(rig.stored('alice', 'movie.bin'), edited)
  })

  it('counts as changed if it has a byte after its end, although it reports that it is unchanged', () =>
    failsAlone(
      async () => ({
        name: 'movie.bin',
        open: async (signal) => ({ ...(await memorySource('longer', bytes).open(signal)), size: MiB }),
      }),
      { code: 'source-changed', message: /^movie\.bin was written to while it was being sent/u },
    ))

  for (const [how, change, message] of [
    ['grows', (path: string) => appendFile(path, 'x'), /^movie\.bin was written to while it was being sent; send it/u],
    [
      'shrinks',
      (path: string, left: number) => truncate(path, 2 * MiB - 400 * KiB + left),
      /^movie\.bin became shorter/u,
    ],
  ] as const) {
    it(`fails alone if it ${how} endlessly, after a bounded number of tries`, async () => {
      let changes = 0
      let source: ReturnType<typeof meddled> | undefined
      await failsAlone(
        async ({ path }) => {
          source = meddled(file(path), () => change(path, -1_000 * changes++), 1_000)
          return source
        },
        { code: 'source-changed', message },
      )
      assert.equal(source?.opened, clientLimits.sourceTries + 1)
    })
  }
})
