import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstat, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { claimed, fill } from '../../../lib/testing/storage/steps.ts'
import { spec } from '../../support/spec.ts'
import { opened, withData } from './data.ts'

spec('a data directory', (it) => {
  it(
    'is accessible only to its owner',
    withData(async (data) => {
      await using storage = await opened(data)
      const { claim } = await claimed(storage)
      await fill(storage, claim)
      await using file = await storage.files.open(claim)
      await file.publish('x/a', true)
      const modes = await Promise.all(
        [
          '.',
          'uploads',
          'lock',
          'partial',
          'files',
          'files/alice',
          'files/alice/x',
          'files/alice/x/a',
          'daemon.json',
        ].map(async (path) => ((await lstat(join(data, path))).mode & 0o777).toString(8)),
      )
      assert.deepEqual(modes, ['700', '700', '700', '700', '700', '700', '700', '600', '600'])
    }),
  )

  it(
    'contains the version of its format',
    withData(async (data) => {
      await (await opened(data))[Symbol.asyncDispose]()
      assert.equal(await readFile(join(data, 'format'), 'utf8'), 'ospd 2 8fa03071\n')
    }),
  )

  for (const [format, message] of [
    ['ospd 1\n', /says version 1.*finish its uploads.*new data directory/],
    ['ospd 2\n', /is damaged/],
    ['', /is damaged/],
    ['something else', /is damaged/],
  ] as const) {
    it(
      `is not changed if its format says ${JSON.stringify(format)}`,
      withData(async (data) => {
        await mkdir(data)
        await writeFile(join(data, 'format'), format)
        await assert.rejects(opened(data), { code: 'data-format', message })
        assert.deepEqual(await readdir(data), ['format'])
      }),
    )
  }

  it(
    'is not used if it contains other files',
    withData(async (data) => {
      await mkdir(data)
      await writeFile(join(data, 'holiday.jpg'), '')
      await assert.rejects(opened(data), { code: 'data-format', message: /holiday\.jpg.*choose an empty directory/ })
      assert.deepEqual(await readdir(data), ['holiday.jpg'])
    }),
  )

  it(
    'can get the files and messages of another one',
    withData(async (data) => {
      const old = await opened(data)
      const { claim } = await claimed(old)
      await fill(old, claim)
      await using file = await old.files.open(claim)
      await file.publish('a', true)
      await old[Symbol.asyncDispose]()
      for (const name of await readdir(data)) {
        if (name !== 'files' && name !== 'mailboxes') await rm(join(data, name), { recursive: true })
      }
      await using storage = await opened(data)
      assert.equal(await storage.files.stored('alice', 'a'), true)
    }),
  )

  it(
    'can exist before, with a list of users',
    withData(async (data) => {
      await mkdir(data)
      await writeFile(join(data, 'users.json'), '')
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )

  it(
    'is named by the error if it cannot be created',
    withData(async (data) => {
      await writeFile(data, 'a file')
      await assert.rejects(opened(data), { code: 'internal', message: new RegExp(data) })
    }),
  )

  it(
    'with a damaged format file and all other parts gets a new one, and the damage is reported',
    withData(async (data) => {
      await (await opened(data))[Symbol.asyncDispose]()
      const format = join(data, 'format')
      const bytes = await readFile(format)
      for (let at = 0; at < bytes.length; at++) {
        const flipped = Buffer.from(bytes)
        flipped[at] = (flipped[at] ?? 0) ^ 1
        await writeFile(format, flipped)
        await using storage = await opened(data)
        assert.deepEqual(
          (await storage.transfers.damages()).map(({ file }) => file),
          [format],
        )
        assert.deepEqual(await readFile(format), bytes)
      }
    }),
  )

  it(
    'opens with any content of the directory of its lock',
    withData(async (data) => {
      await (await opened(data))[Symbol.asyncDispose]()
      const lock = join(data, 'lock')
      for (const name of await readdir(lock)) {
        for (const content of ['', 'nonsense']) {
          await writeFile(join(lock, name), content)
          await (await opened(data))[Symbol.asyncDispose]()
        }
        await rm(join(lock, name), { force: true })
        await (await opened(data))[Symbol.asyncDispose]()
      }
    }),
  )
})

spec('the lock of a data directory', (it) => {
  it(
    'names its owner to other processes, and is released',
    withData(async (data) => {
      const storage = await opened(data)
      await assert.rejects(opened(data), { code: 'data-locked', message: new RegExp(`process ${process.pid}, since`) })
      await storage[Symbol.asyncDispose]()
      const names = ['ballast', 'catalogue', 'files', 'format', 'lock', 'mailboxes', 'partial', 'uploads']
      assert.deepEqual((await readdir(data)).sort(), names)
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )

  it(
    'ends with the process that holds it',
    withData(async (data) => {
      const code = `
        import { disk } from ${JSON.stringify(new URL('../../../lib/adapters/disk/disk.ts', import.meta.url).href)}
        import { nodePlatform } from ${JSON.stringify(new URL('../../../lib/adapters/node/nodePlatform.ts', import.meta.url).href)}
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
