import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { claimed, fill } from '../../../lib/testing/storage/steps.ts'
import { run as command, daemon, place } from '../../support/commands.ts'
import { spec } from '../../support/spec.ts'
import { canMount, temporaryDirectory } from '../../testing/storage/places.ts'
import { opened } from './data.ts'

function run(...[name = '', ...args]: string[]): void {
  const { status, error, stderr } = spawnSync(name, args, { encoding: 'utf8' })
  if (status !== 0) throw error ?? new Error(`${name} failed: ${stderr}`)
}

/** Mounts another file system at a directory, or the same one a second time. */
const kinds = {
  'a file system of its own': (path: string) =>
    run('mount', '-t', 'tmpfs', '-o', 'size=4000000,mode=700', 'tmpfs', path),
  'a bind mount': (path: string) => run('mount', '--bind', path, path),
}

/** Runs `proof` with a data directory in which `folder` is a mount. */
const mounted = (mount: (path: string) => void, folder: string, proof: (data: string) => Promise<void>) => async () => {
  await using directory = await temporaryDirectory()
  const data = join(directory.path, 'data')
  await (await opened(data))[Symbol.asyncDispose]()
  const path = join(data, folder)
  await mkdir(path, { recursive: true })
  mount(path)
  try {
    await proof(data)
  } finally {
    run('umount', path)
  }
}

spec('a data directory', (it) => {
  if (!canMount) return it.skip('can contain mounts', 'this process cannot mount anything')

  for (const [kind, mount] of Object.entries(kinds)) {
    for (const folder of ['files', 'partial']) {
      it(
        `whose folder ${folder} is ${kind} has its partial files on the mount of the published ones`,
        mounted(mount, folder, async (data) => {
          await writeFile(join(data, 'partial', `${'0'.repeat(32)}.part`), 'left')
          for (const content of ['one', 'two']) {
            await using storage = await opened(data)
            const { claim } = await claimed(storage, { modifiedAt: content.length, name: content })
            await fill(storage, claim, Buffer.from(content))
            await using file = await storage.files.open(claim)
            assert.deepEqual((await readdir(join(data, 'files', ':partial'))).length, 1)
            assert.equal(await file.publish(content, false), true)
            assert.equal(await readFile(join(data, 'files', 'alice', content), 'utf8'), content)
          }
          assert.deepEqual(await readdir(join(data, 'partial')), [])
          assert.deepEqual(await readdir(join(data, 'files', ':partial')), [])
        }),
      )
    }

    for (const folder of ['files/alice', 'files/alice/x']) {
      it(
        `refuses files below ${folder} at once and permanently if that is ${kind}`,
        mounted(mount, folder, async (data) => {
          await using storage = await opened(data)
          for (const name of ['x/a', 'x/y/a']) {
            const error = await claimed(storage, { name }).then(
              () => assert.fail(),
              (error) => error,
            )
            assert.equal(error.code, 'storage-unusable')
            assert.ok(error.message.includes(join(data, folder)), error.message)
            assert.ok(!error.publicText.includes(data), error.publicText)
          }
          await claimed(storage, { user: 'bob', name: 'x/a' })
        }),
      )
    }
  }

  it(
    'with a mount as the folder of a user is reported to osp send before anything is sent',
    mounted(kinds['a file system of its own'], 'files/alice', async (data) => {
      await using at = await place()
      await at.write('a', 'content')
      await using server = await daemon(data)
      const { code, stderr } = await command('osp', ['send', 'a', '--server', server.server, '--user', 'alice'], {
        cwd: at.path,
      })
      assert.equal(code, 1)
      assert.match(stderr, /^osp: a: the folder of this file on the server is on a different file system/mu)
      assert.match(server.stderr, /upload-refused .* code=storage-unusable text=".*mount that file system at/u)
    }),
  )
})
