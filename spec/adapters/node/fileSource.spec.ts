import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { appendFile, mkdtemp, open, rename, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { file } from '../../../lib/adapters/node/fileSource.ts'
import { clientLimits } from '../../../lib/limits.ts'
import type { OpenSource } from '../../../lib/ports/source.ts'
import { spec } from '../../support/spec.ts'

const never = new AbortController().signal

/** Runs `proof` with a directory that contains a file `movie` with the text `hello`. */
const within = (proof: (directory: string, path: string) => Promise<void>) => async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ospd-spec-'))
  try {
    const path = join(directory, 'movie')
    await writeFile(path, 'hello')
    await utimes(path, 1_000, 1_000.5)
    await proof(directory, path)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

spec('a file as a source', (it) => {
  it('has the last part of its path as its name, in NFC, or a given name', () => {
    assert.equal(file('a/b/cafe\u0301').name, 'caf\u00e9')
    assert.equal(file('a/b/').name, 'b')
    assert.equal(file('a/b', { name: 'x/y' }).name, 'x/y')
    assert.equal(file(new URL('file:///a/b%20c')).name, 'b c')
  })

  const huge = 'of more than 2^53 - 1 bytes is opened, and not taken for one whose size is not known'
  const path = join(mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'ospd-spec-')), 'huge')
  const { status } = spawnSync('truncate', ['-s', '9007199254740993', path])
  if (status !== 0) it.skip(huge, 'the file system cannot hold such a file')
  else {
    it(huge, async () => {
      await using open = await file(path).open(never)
      assert.ok(open.size > Number.MAX_SAFE_INTEGER)
      assert.equal(await open.unchanged(), true)
    })
  }
  process.once('exit', () => rmSync(dirname(path), { recursive: true, force: true }))

  it('has the path of a URL, which must lead to a file of this machine', () => {
    if (process.platform !== 'win32') assert.equal(file(new URL('file:///a/b%20c')).ref, '/a/b c')
    for (const url of ['file:///a%2Fb', 'file://host/a'])
      assert.throws(() => file(new URL(url)), { code: 'usage', message: /^file: .* is not the URL of a file/u })
  })

  it(
    'has its absolute path as `ref`',
    within(async (_directory, path) => {
      assert.equal(file(relative(process.cwd(), path)).ref, path)
    }),
  )

  it(
    'has the size and the modification time of its file',
    within(async (_directory, path) => {
      await using source = await file(path).open(never)
      assert.equal(source.size, 5)
      assert.equal(source.modifiedAt, 1_000_500)
    }),
  )

  it(
    'has a modification time in whole milliseconds that is not negative',
    within(async (_directory, path) => {
      await utimes(path, new Date(-5_250), new Date(-5_250))
      await using source = await file(path).open(never)
      assert.equal(source.modifiedAt, 0)
    }),
  )

  it(
    'can be read at any offset, with fewer bytes only at the end',
    within(async (_directory, path) => {
      await using source = await file(path).open(never)
      const into = new Uint8Array(3)
      assert.equal(await source.read(into, 1), 3)
      assert.equal(Buffer.from(into).toString(), 'ell')
      assert.equal(await source.read(into, 3), 2)
      assert.equal(await source.read(into, 5), 0)
    }),
  )

  it(
    'that is missing is reported with its path',
    within(async (directory) => {
      const missing = { code: 'source-missing', message: /none does not exist/ }
      await assert.rejects(file(join(directory, 'none')).open(never), missing)
      await assert.rejects(file(join(directory, 'movie', 'none')).open(never), missing)
    }),
  )

  it(
    'that is a directory or a pipe cannot be read',
    within(async (directory) => {
      await assert.rejects(file(directory).open(never), { code: 'source-unreadable' })
      spawnSync('mkfifo', [join(directory, 'pipe')])
      await assert.rejects(file(join(directory, 'pipe')).open(never), { code: 'source-unreadable' })
    }),
  )

  it(
    'is not opened after its signal has aborted',
    within(async (_directory, path) => {
      await assert.rejects(file(path).open(AbortSignal.abort()), { name: 'AbortError' })
    }),
  )

  const changes: Record<string, (directory: string, path: string) => Promise<void>> = {
    'it has grown': (_directory, path) => appendFile(path, '!'),
    'it was written to, with the same size': (_directory, path) => writeFile(path, 'HELLO'),
    'it was written to, with the same size, and its modification time was set back': async (_directory, path) => {
      await writeFile(path, 'HELLO')
      await utimes(path, 1_000, 1_000.5)
    },
    'another file has taken its place': async (directory, path) => {
      await writeFile(join(directory, 'new'), 'HELLO')
      await utimes(join(directory, 'new'), 1_000, 1_000.5)
      await rename(join(directory, 'new'), path)
    },
    'its path leads elsewhere now': async (directory, path) => {
      await rename(path, join(directory, 'old'))
      await writeFile(join(directory, 'new'), 'HELLO')
      await symlink('new', path)
    },
  }
  for (const [what, change] of Object.entries(changes)) {
    it(
      `is changed if ${what}`,
      within(async (directory, path) => {
        await using source = await file(path).open(never)
        await change(directory, path)
        assert.equal(await source.unchanged(), false)
      }),
    )
  }

  it(
    'is unchanged until a program writes to it',
    within(async (_directory, path) => {
      await using source = await file(path).open(never)
      await source.read(new Uint8Array(5), 0)
      assert.equal(await source.unchanged(), true)
    }),
  )

  it(
    'notices a write immediately after its opening, even with a coarse clock of the file system',
    within(async (_directory, path) => {
      for (let round = 0; round < 20; round++) {
        await writeFile(path, 'hello')
        await utimes(path, 1_000, 1_000)
        await using source = await file(path).open(never)
        await writeFile(path, 'HELLO')
        await utimes(path, 1_000, 1_000)
        assert.equal(await source.unchanged(), false, `round ${round}`)
      }
    }),
  )

  for (const path of ['/proc/version', '/sys/devices/system/cpu/possible']) {
    if (!existsSync(path)) it.skip(`${path} is read to its real end`, 'this system has no such file')
    else {
      it(`${path} is read to its real end, although its reported size is ${path.startsWith('/sys') ? 'longer' : '0'}`, async () => {
        const content = readFileSync(path)
        assert.notEqual((await stat(path)).size, content.length)
        await using source = await file(path).open(never)
        assert.equal(source.size, content.length)
        const into = Buffer.alloc(source.size + 1)
        assert.equal(await source.read(into, 0), source.size)
        assert.deepEqual(into.subarray(0, source.size), content)
        assert.equal(await source.unchanged(), true)
        assert.deepEqual(
          readdirSync(tmpdir()).filter((name) => /^ospd-[0-9a-f]{16}$/u.test(name)),
          [],
        )
      })
    }
  }

  if (!existsSync('/proc/version')) it.skip('of unknown size is copied up to a limit', 'this system has no such file')
  else {
    it('of unknown size is copied up to a limit', async () => {
      const { unsizedBytes } = clientLimits
      try {
        Object.assign(clientLimits, { unsizedBytes: 3 })
        const message = /^\/proc\/version has no known size and more than .* MiB of content; send a copy of it$/u
        await assert.rejects(file('/proc/version').open(never), { code: 'too-large', message })
      } finally {
        Object.assign(clientLimits, { unsizedBytes })
      }
    })
  }

  it(
    'of a known size is not copied, even if it is empty or has a hole at its end',
    within(async (_directory, path) => {
      for (const size of [0, 1, 100_000]) {
        await truncate(path, 0)
        await truncate(path, size)
        await using source = await file(path).open(never)
        assert.equal(source.size, size)
        await appendFile(path, 'x')
        assert.equal(await source.unchanged(), false)
      }
    }),
  )

  it(
    'is missing after its path was removed, although it can still be read',
    within(async (_directory, path) => {
      await using source: OpenSource = await file(path).open(never)
      await rm(path)
      await assert.rejects(source.unchanged(), { code: 'source-missing' })
      assert.equal(await source.read(new Uint8Array(5), 0), 5)
    }),
  )
})

/** Reads a file in one call, into memory for `extra` more bytes than were asked for. */
async function readWhole(path: string, maxBytes = 5, extra = 0, isRegular = false) {
  const whole = await file(path, { isRegular }).readWhole?.(maxBytes, (bytes) => new Uint8Array(bytes + extra))
  return whole && { text: Buffer.from(whole.content).toString(), modifiedAt: whole.modifiedAt }
}

/** Reads a file less than 20 ms after it was written to: again if this process had to wait meanwhile. */
async function readJustModified(path: string) {
  for (;;) {
    await writeFile(path, 'hallo')
    const { ctimeMs } = await stat(path)
    const whole = await readWhole(path)
    if (Date.now() - Math.floor(ctimeMs) < 20) return whole
  }
}

/** Waits until a later write would change the change time of a file. */
const settled = (path: string) =>
  file(path)
    .open(never)
    .then((open) => open[Symbol.asyncDispose]())

spec('a file that is read in one call', (it) => {
  it(
    'has its content and its modification time, also in memory of exactly its size',
    within(async (_directory, path) => {
      await settled(path)
      assert.deepEqual(await readWhole(path), { text: 'hello', modifiedAt: 1_000_500 })
      assert.deepEqual(await readWhole(path, 5, 0, true), { text: 'hello', modifiedAt: 1_000_500 })
      await truncate(path, 0)
      await settled(path)
      assert.equal((await readWhole(path))?.text, '')
      for (const size of [65_535, 65_536, 100_000]) {
        const text = 'x'.repeat(size)
        await writeFile(path, text)
        await utimes(path, 1_000.5, 1_000.5)
        await settled(path)
        for (const extra of [0, -1, 100]) {
          assert.deepEqual(await readWhole(path, size, extra), { text, modifiedAt: 1_000_500 })
        }
      }
    }),
  )

  it(
    'is left to be opened if it is too large, was modified just now, is a folder, a pipe or missing',
    within(async (directory, path) => {
      await settled(path)
      assert.equal(await readWhole(path, 4), undefined)
      assert.equal(await readJustModified(path), undefined)
      assert.equal(await readWhole(directory, 1_000_000), undefined)
      const pipe = join(directory, 'pipe')
      if (spawnSync('mkfifo', [pipe]).status === 0) {
        await using both = await open(pipe, 'r+')
        await both.write('hello')
        assert.equal(await readWhole(pipe), undefined)
        assert.equal((await both.read()).bytesRead, 5, 'nothing was taken from the pipe')
      }
      await assert.rejects(readWhole(join(directory, 'missing')), { code: 'ENOENT' })
    }),
  )

  it(
    'is left to be opened if it was modified while it was read',
    within(async (_directory, path) => {
      for (const change of [() => appendFile(path, '!'), () => truncate(path, 1), () => utimes(path, 1, 1)]) {
        await writeFile(path, 'x'.repeat(100_000))
        await settled(path)
        const take = async (bytes: number) => {
          await change()
          return new Uint8Array(bytes)
        }
        assert.equal(await file(path).readWhole?.(200_000, take), undefined)
      }
    }),
  )

  for (const path of ['/proc/version', '/sys/devices/system/cpu/possible']) {
    if (!existsSync(path)) it.skip(`${path} is left to be opened`, 'this system has no such file')
    else {
      it(`${path} is left to be opened, since its reported size is not its real one`, async () => {
        for (const extra of [0, -1]) assert.equal(await readWhole(path, 1_000_000, extra), undefined)
      })
    }
  }

  it(
    'is closed afterwards',
    within(async (directory, path) => {
      await settled(path)
      const isOpen = () =>
        existsSync('/proc/self/fd') &&
        readdirSync('/proc/self/fd').some((fd) => {
          try {
            return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory)
          } catch {
            // The descriptor of the reading itself.
            return false
          }
        })
      await readWhole(path)
      await readWhole(path, 1)
      assert.equal(isOpen(), false)
    }),
  )
})
