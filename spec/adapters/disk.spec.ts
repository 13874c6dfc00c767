import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { disk } from '../../lib/adapters/disk/disk.ts'
import { nodePlatform } from '../../lib/adapters/nodePlatform.ts'
import { temporaryDirectory } from '../contract/storage/places.ts'
import { claimed, fill } from '../contract/storage/steps.ts'
import { spec } from '../support/spec.ts'

/** Runs `proof` with the path of a data directory that is not there yet. */
const within = (proof: (data: string) => Promise<void>) => async () => {
  await using directory = await temporaryDirectory()
  await proof(join(directory.path, 'data'))
}

async function opened(data: string) {
  const storage = disk(data)
  await storage.open(nodePlatform())
  return storage
}

spec('a data directory', (it) => {
  it(
    'is made for its owner alone',
    within(async (data) => {
      await using storage = await opened(data)
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      await file.publish('x/a', true)
      const modes = await Promise.all(
        ['.', 'records', 'partial', 'files', 'files/alice', 'files/alice/x', 'files/alice/x/a', 'daemon.json'].map(
          async (path) => ((await lstat(join(data, path))).mode & 0o777).toString(8),
        ),
      )
      assert.deepEqual(modes, ['700', '700', '700', '700', '700', '700', '600', '600'])
    }),
  )

  it(
    'carries the version of its format',
    within(async (data) => {
      await (await opened(data))[Symbol.asyncDispose]()
      assert.equal(await readFile(join(data, 'format'), 'utf8'), 'ospd 1\n')
    }),
  )

  for (const [format, message] of [
    ['ospd 2\n', /says version 2/],
    ['', /is damaged/],
    ['something else', /is damaged/],
  ] as const) {
    it(
      `is left alone if its format says ${JSON.stringify(format)}`,
      within(async (data) => {
        await mkdir(data)
        await writeFile(join(data, 'format'), format)
        await assert.rejects(opened(data), { code: 'data-format', message })
        assert.deepEqual(await readdir(data), ['format'])
      }),
    )
  }

  it(
    'is left alone if it holds strange things',
    within(async (data) => {
      await mkdir(data)
      await writeFile(join(data, 'holiday.jpg'), '')
      await assert.rejects(opened(data), { code: 'data-format', message: /holiday\.jpg.*name an empty directory/ })
      assert.deepEqual(await readdir(data), ['holiday.jpg'])
    }),
  )

  it(
    'may have been made before, with users in it',
    within(async (data) => {
      await mkdir(data)
      await writeFile(join(data, 'users.json'), '')
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )

  it(
    'that cannot be made is named',
    within(async (data) => {
      await writeFile(data, 'a file')
      await assert.rejects(opened(data), { code: 'internal', message: new RegExp(data) })
    }),
  )

  it(
    'whose records are damaged is named, with what to do',
    within(async (data) => {
      await (await opened(data))[Symbol.asyncDispose]()
      await writeFile(join(data, 'records', 'CURRENT'), 'nonsense')
      await assert.rejects(opened(data), { code: 'internal', message: /data\/records cannot be opened.*backup/ })
    }),
  )
})

spec('the lock of a data directory', (it) => {
  it(
    'names its owner to others, and is given back',
    within(async (data) => {
      const storage = await opened(data)
      await assert.rejects(opened(data), { code: 'data-locked', message: new RegExp(`process ${process.pid}, since`) })
      await storage[Symbol.asyncDispose]()
      assert.deepEqual((await readdir(data)).sort(), ['files', 'format', 'partial', 'records'])
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )

  it(
    'dies with the process that holds it',
    within(async (data) => {
      const code = `
        import { disk } from ${JSON.stringify(new URL('../../lib/adapters/disk/disk.ts', import.meta.url).href)}
        import { nodePlatform } from ${JSON.stringify(new URL('../../lib/adapters/nodePlatform.ts', import.meta.url).href)}
        await disk(${JSON.stringify(data)}).open(nodePlatform())
        console.log('open')
        setInterval(() => {}, 1_000)`
      const owner = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      try {
        await once(owner.stdout, 'data')
        await assert.rejects(opened(data), { code: 'data-locked', message: new RegExp(`process ${owner.pid}, since`) })
      } finally {
        owner.kill('SIGKILL')
        await once(owner, 'exit')
      }
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )
})

spec('the published files of a data directory', (it) => {
  it(
    'are never written through a symbolic link',
    within(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, 'files', 'alice'))
      await mkdir(join(data, '..', 'outside'))
      await symlink('../../../outside', join(data, 'files', 'alice', 'x'))
      await assert.rejects(claimed(storage, { name: 'x/a' }), { code: 'name-conflict' })
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      await assert.rejects(file.publish('x/a', true), { code: 'name-conflict' })
      assert.deepEqual(await readdir(join(data, '..', 'outside')), [])
    }),
  )

  it(
    'are not taken from a user whose directory is a symbolic link',
    within(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, '..', 'outside'))
      await writeFile(join(data, '..', 'outside', 'a'), 'secret')
      await symlink('../../outside', join(data, 'files', 'alice'))
      assert.equal(await storage.files.stored('alice', 'a'), false)
      await assert.rejects(claimed(storage), { code: 'name-conflict' })
    }),
  )

  it(
    'do not take the place of a symbolic link',
    within(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, 'files', 'alice'))
      await symlink('nowhere', join(data, 'files', 'alice', 'a'))
      await assert.rejects(claimed(storage), { code: 'name-conflict' })
      assert.equal(await storage.files.stored('alice', 'a'), false)
    }),
  )

  it(
    'take the place of directories that hold no file',
    within(async (data) => {
      await using storage = await opened(data)
      await mkdir(join(data, 'files', 'alice', 'a', 'b', 'c'), { recursive: true })
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      assert.equal(await file.publish('a', true), true)
      assert.equal(await readFile(join(data, 'files', 'alice', 'a'), 'utf8'), 'hello')
    }),
  )

  it(
    'may have as long a name as the protocol allows',
    within(async (data) => {
      await using storage = await opened(data)
      await claimed(storage, { name: `${'d'.repeat(255)}/${'e'.repeat(255)}/${'f'.repeat(255)}/${'g'.repeat(250)}` })
    }),
  )
})

spec('the partial files of a data directory', (it) => {
  it(
    'that have no record are removed at the start, whatever they are',
    within(async (data) => {
      const storage = await opened(data)
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await storage[Symbol.asyncDispose]()
      const [kept] = await readdir(join(data, 'partial'))
      await writeFile(join(data, 'partial', '00000000000000000000000000000000.part'), 'left over')
      await mkdir(join(data, 'partial', 'directory'))
      await using _again = await opened(data)
      assert.deepEqual(await readdir(join(data, 'partial')), [kept])
    }),
  )

  it(
    'leave no handle behind when the storage is closed',
    within(async (data) => {
      const storage = await opened(data)
      const { claim } = await claimed(storage)
      const files = await Promise.all([storage.files.open(claim), storage.files.open(claim)])
      await files[0].write(0, [new Uint8Array(10)])
      await storage[Symbol.asyncDispose]()
      assert.deepEqual(await handlesBelow(data), [])
    }),
  )

  it(
    'that may not be opened are named',
    within(async (data) => {
      await using storage = await opened(data)
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      const [name = ''] = await readdir(join(data, 'partial'))
      await storage.files.remove('alice', 'a')
      await symlink('/dev/null', join(data, 'partial', name))
      await assert.rejects(storage.files.open(claim), {
        code: 'internal',
        message: new RegExp(`${name} failed: ELOOP`),
      })
    }),
  )
})

/** What this process has open below a directory (Linux only). */
async function handlesBelow(directory: string): Promise<string[]> {
  const numbers = await readdir('/proc/self/fd').catch(() => [])
  const paths = await Promise.all(numbers.map((number) => readlink(`/proc/self/fd/${number}`).catch(() => '')))
  return paths.filter((path) => path.startsWith(directory))
}
