import assert from 'node:assert/strict'
import { lstat, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

/** Returns the modes of all files below a directory, by path. */
async function modes(directory: string): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>()
  for (const entry of ['.', ...(await readdir(directory, { recursive: true }))]) {
    const { mode } = await lstat(join(directory, entry))
    found.set(entry, (mode & 0o7777).toString(8))
  }
  return found
}

spec('the files of a daemon', (it) => {
  if (process.platform === 'win32') return it.skip('is its own', 'Windows has lists of rights instead')

  for (const umask of ['000', '277']) {
    it(`are private to its user and never executable, whatever the umask: ${umask}`, async () => {
      await using at = await place()
      const data = join(at.path, 'data')
      await writeFile(join(at.path, 'run.sh'), '#!/bin/sh\n', { mode: 0o755 })
      const wrong: string[] = []
      for (const name of ['one/run.sh', 'two.sh']) {
        const under = ['sh', '-c', `umask ${umask}; exec "$@"`, 'sh']
        await using server = await daemon(data, [], { under })
        const osp = (...args: string[]) =>
          run('osp', [...args, '--server', server.server, '--user', 'alice'], { cwd: at.path })
        assert.equal((await osp('send', 'run.sh', '--as', name)).code, 0)
        assert.equal((await osp('msg', 'bob', 'hi')).code, 0)
        const all = await modes(data)
        assert.ok(all.has(`files/alice/${name}`) && all.size > 12, [...all.keys()].join(' '))
        for (const [path, mode] of all) {
          const directory = (await lstat(join(data, path))).isDirectory()
          if (mode !== (directory ? '700' : '600')) wrong.push(`${path} ${mode}`)
        }
        await server.kill('SIGTERM')
      }
      assert.deepEqual(wrong, [])
    })
  }
})
