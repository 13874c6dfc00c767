import assert from 'node:assert/strict'
import { existsSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { daemon, place, start } from '../support/commands.ts'
import type { Running } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { turns } from '../support/turns.ts'

const count = 300

/** Returns the paths of the files below `directory` that a process has open. */
function openBelow(directory: string, { child }: Running): string[] {
  const handles = `/proc/${child.pid}/fd`
  return readdirSync(handles).flatMap((handle) => {
    try {
      const path = readlinkSync(join(handles, handle))
      return path.startsWith(`${directory}/`) ? [path] : []
    } catch {
      // Closed since the directory was read.
      return []
    }
  })
}

spec('after many small files were sent', (it) => {
  const fact = 'neither the client nor the daemon has a file of them open, nor is a partial one left'
  if (!existsSync('/proc/self/fd')) return it.skip(fact, 'there is no /proc here to look at')

  it(fact, async () => {
    await using at = await place()
    for (let file = 0; file < count; file++) await at.write(`sources/${file}`, `file ${file}`)
    const data = join(at.path, 'data')
    await using server = await daemon(data)
    // Its list stays open after the folder is sent, so that the spec can inspect the client before it ends.
    await using client = start(
      'osp',
      ['send', '-r', '--server', server.server, '--user', 'alice', '--files-from', '-'],
      {
        cwd: at.path,
      },
    )
    client.child.stdin?.write('sources\n')
    await turns(() => client.stdout.split('\n').length > count)
    await turns(() => openBelow(at.path, client).length === 0)
    const kept = [join(data, 'files'), join(data, 'partial')].flatMap((folder) => openBelow(folder, server))
    assert.deepEqual(kept, [])
    assert.deepEqual(readdirSync(join(data, 'partial')), [])
    assert.equal(readdirSync(join(data, 'files/alice/sources')).length, count)
    client.child.stdin?.end()
    assert.deepEqual(await client.ended, { code: 0, signal: null })
  })
})
