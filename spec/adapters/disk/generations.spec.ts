import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DirectoryFlushes } from '../../../lib/adapters/disk/directories.ts'
import type { DiskFiles } from '../../../lib/adapters/disk/files.ts'
import { Generations } from '../../../lib/adapters/disk/generations.ts'
import { layoutOf } from '../../../lib/adapters/disk/layout.ts'
import type { Claim } from '../../../lib/ports/storage.ts'
import { storageContract } from '../../../lib/testing.ts'
import { canFreeze, freeze, thaw } from '../../support/frozen.ts'
import { startNode } from '../../support/processes.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { GenerationStorage, ServerClaims, sharedFiles, verifiedAs } from '../../support/sharedFiles.ts'
import { spec } from '../../support/spec.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'

const text = (of: string) => new TextEncoder().encode(of)
const digestOf = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex')

/** The test cases about files and uploads. The records of these storages are those of one process. */
const cases = storageContract({
  name: 'disk with generations',
  async location() {
    const directory = await temporaryDirectory()
    const data = join(directory.path, 'data')
    return {
      storage: () => new GenerationStorage(data),
      read: async (user, storedName) => {
        const path = join(data, 'files', user, storedName)
        return existsSync(path) ? Uint8Array.from(readFileSync(path)) : undefined
      },
      [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
    }
  },
})
const ofFiles = /upload|partial file|publishing|bytes of a user|announced/u
runTestCases(cases.filter(({ subject, skipped }) => ofFiles.test(subject) && skipped === undefined))

interface Server {
  readonly claims: ServerClaims
  readonly files: DiskFiles
}

interface Shared {
  readonly data: string
  /**
   * Opens the directory as another server. `mayBeOpen` states whether this server assumes that the former writer has its file
   * open.
   */
  server(mayBeOpen?: boolean): Promise<Server>
  /** The paths below the directory of partial files, without directories. */
  partials(): string[]
}

async function withShared(use: (shared: Shared) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory()
  const data = join(directory.path, 'data')
  const opened: DiskFiles[] = []
  const partial = join(data, 'partial')
  try {
    await use({
      data,
      async server(mayBeOpen = true) {
        const claims = new ServerClaims(() => mayBeOpen)
        const files = await sharedFiles(data, claims)
        opened.push(files)
        return { claims, files }
      },
      partials: () =>
        (readdirSync(partial, { recursive: true }) as string[])
          .filter((path) => statSync(join(partial, path)).isFile())
          .map((path) => path.replace(/^.*?[\da-f]{32}\./u, ''))
          .sort(),
    })
  } finally {
    for (const files of opened) await files.close()
  }
}

const checkpoints = (offset: number) => ({ checkpoints: [{ offset, digest: new Uint8Array() }] })

/** Writes this text as the partial file of a claim, and flushes it. */
async function written({ files }: Server, claim: Claim, content: string) {
  const partial = await files.open(claim)
  await partial.write(partial.length, [text(content)])
  await partial.flush()
  return partial
}

const contentOf = async ({ files }: Server, claim: Claim) => {
  await using partial = await files.open(claim)
  const into = new Uint8Array(partial.length)
  await partial.read(into, 0)
  return new TextDecoder().decode(into)
}

const published = (data: string) => readFileSync(join(data, 'files/alice/a'), 'utf8')

spec('a partial file of a shared directory', (it) => {
  it('has the token of its claim in its name', () =>
    withShared(async ({ server, partials }) => {
      const one = await server()
      await written(one, one.claims.grant(7), 'hello')
      assert.deepEqual(partials(), ['7'])
    }))

  it('is moved by a later claim if the former writer has closed it, with all its bytes', () =>
    withShared(async ({ server, partials }) => {
      const [one, two] = [await server(), await server(false)]
      await written(one, one.claims.grant(1), 'hello')
      assert.equal(await contentOf(two, two.claims.grant(2, checkpoints(3))), 'hello')
      assert.deepEqual(partials(), ['2'])
    }))

  it('is copied up to the last checkpoint if the former writer may have it open, whose writes then have no effect', () =>
    withShared(async ({ data, server, partials }) => {
      const [one, two] = [await server(), await server()]
      const late = await written(one, one.claims.grant(1), 'hello')
      const claim = two.claims.grant(2, checkpoints(4))
      assert.equal(await contentOf(two, claim), 'hell')
      assert.deepEqual(partials(), ['2'])
      await late.write(0, [text('XXXXXXXX')])
      await late.truncate(0)
      await late.flush()
      const own = await written(two, claim, 'o!')
      assert.equal(await contentOf(two, claim), 'hello!')
      two.claims.grant(2, verifiedAs(6, digestOf('hello!')))
      assert.equal(await own.publish('a', true), true)
      await late.write(0, [text('YYYY')])
      assert.equal(published(data), 'hello!')
    }))

  it('is moved by a later claim of the same process, which has it open', () =>
    withShared(async ({ server, partials }) => {
      const one = await server()
      await using former = await written(one, one.claims.grant(1), 'hello')
      assert.equal(await contentOf(one, one.claims.grant(2, checkpoints(3))), 'hello')
      assert.deepEqual(partials(), ['2'])
      await assert.rejects(former.write(0, [text('X')]), { code: 'superseded' })
    }))

  it('starts empty if the former writer may have it open and there is no checkpoint', () =>
    withShared(async ({ server, partials }) => {
      const [one, two] = [await server(), await server()]
      const late = await written(one, one.claims.grant(1), 'hello')
      const claim = two.claims.grant(2)
      assert.equal(await contentOf(two, claim), '')
      await late.write(0, [text('XX')])
      assert.equal(await contentOf(two, claim), '')
      assert.deepEqual(partials(), ['2'])
    }))

  it('can be taken over again after a takeover was interrupted before the copy was renamed', () =>
    withShared(async ({ data, server, partials }) => {
      const [one, two] = [await server(), await server()]
      await written(one, one.claims.grant(1), 'hello')
      const [path = ''] = (readdirSync(join(data, 'partial'), { recursive: true }) as string[]).filter((entry) =>
        entry.endsWith('.1'),
      )
      writeFileSync(join(data, 'partial', path.replace(/1$/u, '2.new')), 'he')
      assert.equal(await contentOf(two, two.claims.grant(2, checkpoints(5))), 'hello')
      assert.deepEqual(partials(), ['2'])
    }))

  it('is not opened under a claim whose file a later claim has taken over', () =>
    withShared(async ({ server, partials }) => {
      const [one, two] = [await server(), await server(false)]
      await written(one, one.claims.grant(1), 'hello')
      await written(two, two.claims.grant(2, checkpoints(5)), '!')
      await assert.rejects(one.files.open(one.claims.grant(1)), { code: 'superseded' })
      assert.deepEqual(partials(), ['2'])
    }))

  it('is not used if another one has a higher token', () =>
    withShared(async ({ server, partials }) => {
      const [one, two, three] = [await server(), await server(false), await server(false)]
      const late = one.claims.grant(1)
      await written(two, two.claims.grant(2), 'hello')
      // The check of the later file has passed before it was created.
      await assert.rejects(one.files.open(late), { code: 'superseded' })
      assert.equal(await contentOf(three, three.claims.grant(3)), 'hello')
      assert.deepEqual(partials(), ['3'])
    }))

  it('that a single server has written is continued', () =>
    withShared(async ({ data, server, partials }) => {
      const one = await server()
      const path = layoutOf(data).partialOf('alice', 'a')
      writeFileSync(path, 'hello', { mode: 0o600 })
      const want = { user: 'alice', name: 'a', size: 9, modifiedAt: 0, algorithm: 'sha256' } as const
      assert.equal(await one.files.partialBytes(want), 5)
      assert.ok((await one.files.heldBytes('alice', 'a')) > 0)
      assert.equal(await contentOf(one, one.claims.grant(1, checkpoints(5))), 'hello')
      assert.ok(!existsSync(path))
      assert.deepEqual(partials(), ['1'])
    }))
})

spec('a verified file of a shared directory', (it) => {
  it('is moved and never copied, and its former owner cannot publish it any more', () =>
    withShared(async ({ data, server, partials }) => {
      const [one, two] = [await server(), await server()]
      const verified = verifiedAs(5, digestOf('hello'))
      const late = await written(one, one.claims.grant(1), 'hello')
      one.claims.grant(1, verified)
      const claim = two.claims.grant(2, verified)
      const own = await two.files.open(claim)
      assert.deepEqual(partials(), ['2'])
      await assert.rejects(late.publish('a', true), { code: 'digest-mismatch' })
      assert.equal(await own.publish('a', true), true)
      // Repeated by the former owner, it finds the published file.
      assert.equal(await late.publish('a', true), true)
      assert.equal(published(data), 'hello')
      assert.deepEqual(partials(), [])
    }))

  it('that its former owner has published meanwhile is recognized by its size and digest', () =>
    withShared(async ({ data, server }) => {
      const [one, two] = [await server(), await server()]
      const verified = verifiedAs(5, digestOf('hello'))
      const late = await written(one, one.claims.grant(1), 'hello')
      one.claims.grant(1, verified)
      assert.equal(await late.publish('a', true), true)
      await using own = await two.files.open(two.claims.grant(2, verified))
      assert.equal(own.length, 0)
      assert.equal(await own.publish('a', true), true)
      assert.equal(published(data), 'hello')
    }))

  it('is not replaced by a file that a late owner has created', () =>
    withShared(async ({ data, server }) => {
      const [one, two, three] = [await server(), await server(), await server()]
      const verified = verifiedAs(5, digestOf('hello'))
      const own = await written(two, two.claims.grant(2), 'hello')
      two.claims.grant(2, verified)
      assert.equal(await own.publish('a', true), true)
      // The process was paused before it opened its file.
      await written(one, one.claims.grant(1), 'wrong')
      await using again = await three.files.open(three.claims.grant(3, verified))
      assert.equal(await again.publish('a', true), true)
      assert.equal(published(data), 'hello')
    }))

  it('is not replaced by the file of an earlier claim with the same content', () =>
    withShared(async ({ data, server }) => {
      const [one, two, three] = [await server(), await server(), await server()]
      const own = await written(two, two.claims.grant(2), 'hello')
      const verifiedStamp = await two.files.partialVersion('alice', 'a')
      assert.ok(verifiedStamp)
      const verified = { ...verifiedAs(5, digestOf('hello')), verifiedStamp }
      two.claims.grant(2, verified)
      assert.equal(await own.publish('a', true), true)
      await written(one, one.claims.grant(1), 'hello')
      await using again = await three.files.open(three.claims.grant(3, verified))
      assert.equal(await again.publish('a', true), true)
      assert.equal(await three.files.version('alice', 'a'), verifiedStamp)
      assert.equal(published(data), 'hello')
    }))

  it('is found although it is moved during the takeover, and an earlier claim has left another one', () =>
    withShared(async ({ data, server, partials }) => {
      const one = await server()
      const claim = one.claims.grant(1)
      await written(one, claim, 'hello')
      const generations = new Generations(layoutOf(data), one.claims, new DirectoryFlushes())
      const pathOf = (token: number) => generations.pathOf({ ...claim, token })
      writeFileSync(pathOf(2), 'hello')
      writeFileSync(pathOf(4), 'wrong')
      const isVerified = async (path: string) => {
        if (path === pathOf(4) && existsSync(pathOf(2))) renameSync(pathOf(2), pathOf(3))
        return path !== pathOf(4)
      }
      const record = one.claims.record('alice', 'a')
      assert.ok(record)
      const later = { ...record, ...verifiedAs(5, digestOf('hello')) }
      assert.equal(await generations.takeOver({ ...claim, token: 5 }, later, isVerified), true)
      assert.deepEqual(partials(), ['1', '4', '5'])
    }))

  it('is found although an earlier claim moves it during the takeover', () =>
    withShared(async ({ data, server, partials }) => {
      const one = await server()
      const claim = one.claims.grant(1)
      await written(one, claim, 'hello')
      const generations = new Generations(layoutOf(data), one.claims, new DirectoryFlushes())
      const pathOf = (token: number) => generations.pathOf({ ...claim, token })
      writeFileSync(pathOf(2), 'wrong')
      const isVerified = async (path: string) => {
        if (path === pathOf(1)) renameSync(path, pathOf(3))
        return path === pathOf(3)
      }
      const record = one.claims.record('alice', 'a')
      assert.ok(record)
      const later = { ...record, ...verifiedAs(5, digestOf('hello')) }
      assert.equal(await generations.takeOver({ ...claim, token: 4 }, later, isVerified), true)
      assert.deepEqual(partials(), ['2', '4'])
    }))

  it('is reported as lost if neither it nor the stored file has its digest', () =>
    withShared(async ({ server }) => {
      const [one, two] = [await server(), await server()]
      await written(one, one.claims.grant(1), 'wrong')
      await using own = await two.files.open(two.claims.grant(2, verifiedAs(5, digestOf('hello'))))
      await assert.rejects(own.publish('a', true), { code: 'digest-mismatch' })
    }))
})

spec('the removal of partial files of a shared directory', (it) => {
  it('by a late owner does not affect a later claim', () =>
    withShared(async ({ server, partials }) => {
      const [one, two] = [await server(), await server(false)]
      const late = one.claims.grant(1)
      await written(one, late, 'hello')
      await written(two, two.claims.grant(2, checkpoints(5)), '!')
      await one.files.remove('alice', 'a')
      assert.deepEqual(partials(), ['2'])
      one.claims.forget(late)
      one.claims.token = 2
      await one.files.remove('alice', 'a')
      assert.deepEqual(partials(), ['2'])
    }))

  it('removes all of them if the upload no longer has a record', () =>
    withShared(async ({ server, partials }) => {
      const [one, two] = [await server(), await server()]
      const claim = one.claims.grant(1)
      await written(one, claim, 'hello')
      one.claims.forget(claim)
      await two.files.remove('alice', 'a')
      assert.deepEqual(partials(), [])
    }))

  it('sweeps those without a record when they are old or empty, and those that later ones have replaced', () =>
    withShared(async ({ data, server, partials }) => {
      const one = await server()
      const directory = join(data, 'partial/ab')
      const put = (name: string, content: string, modified = new Date()) => {
        writeFileSync(join(directory, name), content)
        utimesSync(join(directory, name), modified, modified)
      }
      const claim = one.claims.grant(9)
      await written(one, claim, 'hello')
      const hash = (last: string) => `ab${'0'.repeat(29)}${last}`
      const old = new Date(1_000)
      put(`${hash('1')}.10`, 'new')
      put(`${hash('2')}.11`, 'old', old)
      put(`${hash('3')}.12`, '')
      put(`${hash('4')}.13.new`, 'copy')
      put('0000-1.new', 'unnamed')
      const orphans = await one.files.sweep(1_000_000)
      assert.deepEqual(
        orphans.map(({ file, bytes, removed }) => [file.replace(/^.*\./u, ''), bytes, removed]),
        [
          ['10', 3, false],
          ['11', 3, true],
          ['12', 0, true],
        ],
      )
      assert.deepEqual(partials(), ['10', '9', 'ab/0000-1.new'])
    }))

  it('keeps the small files of other servers that are not published yet', () =>
    withShared(async ({ server, partials }) => {
      const [one, two] = [await server(), await server()]
      await using file = await one.files.create('alice', [text('hello')])
      await two.files.sweep(1_000_000)
      assert.equal(partials().length, 1)
      assert.equal(await file.publish('a', true), true)
    }))
})

spec('a process that is stopped while it writes a file of a shared directory', (it) => {
  if (!canFreeze) return it.skip('harms nothing', 'only Linux shows whether a process is frozen')

  it('harms nothing when it continues after another one has taken the file over and published it', () =>
    withShared(async ({ data, server, partials }) => {
      const two = await server()
      const node = ['--import', 'tsx']
      await using writer = startNode('spec/support/zombieWriter.ts', [data], { node })
      await writer.printed(/written\n/u)
      await freeze(writer)
      const claim = two.claims.grant(2, checkpoints(64 * 1024))
      const partial = await two.files.open(claim)
      assert.equal(partial.length, 64 * 1024)
      await partial.write(partial.length, [text('the end')])
      await partial.flush()
      const expected = Buffer.concat([Buffer.alloc(64 * 1024, 0x5a), text('the end')])
      two.claims.grant(2, verifiedAs(expected.length, digestOf(expected)))
      assert.equal(await partial.publish('a', true), true)
      assert.equal(digestOf(readFileSync(join(data, 'files/alice/a'))), digestOf(expected))
      thaw(writer)
      writer.child.stdin?.end()
      assert.deepEqual(await writer.ended, { code: 0, signal: null })
      assert.match(
        writer.stdout,
        /write: undefined\nflush: undefined\ntruncate: undefined\npublish: digest-mismatch\nremove: undefined\n$/u,
      )
      assert.equal(digestOf(readFileSync(join(data, 'files/alice/a'))), digestOf(expected))
      assert.deepEqual(partials(), [])
    }))

  it('damages the published file if its file is moved although the process has it open', () =>
    withShared(async ({ data, server }) => {
      const two = await server(false)
      const node = ['--import', 'tsx']
      await using writer = startNode('spec/support/zombieWriter.ts', [data], { node })
      await writer.printed(/written\n/u)
      await freeze(writer)
      const partial = await two.files.open(two.claims.grant(2, checkpoints(64 * 1024)))
      await partial.truncate(64 * 1024)
      const expected = Buffer.alloc(64 * 1024, 0x5a)
      two.claims.grant(2, verifiedAs(expected.length, digestOf(expected)))
      assert.equal(await partial.publish('a', true), true)
      thaw(writer)
      writer.child.stdin?.end()
      await writer.ended
      assert.notEqual(digestOf(readFileSync(join(data, 'files/alice/a'))), digestOf(expected))
    }))
})
