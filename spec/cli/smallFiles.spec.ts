import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { daemon, events, place, start } from '../support/commands.ts'
import { patterned } from '../support/memorySource.ts'
import { spec } from '../support/spec.ts'

const names = Array.from({ length: 300 }, (_, at) => `folder/${at % 7}/${at}.bin`)

/** The content of a file: from no bytes up to 30 KiB. */
const content = (name: string) => patterned((names.indexOf(name) % 31) * 1_024, names.indexOf(name) + 1)

/** Counts the files that `osp send --json` has reported as stored. */
const stored = (stdout: string) => stdout.split('"event":"stored"').length - 1

spec('three hundred small files', (it) => {
  it('are stored once each although the server is killed and restarted in the meantime', async () => {
    await using home = await place()
    for (const name of names) await home.write(name, content(name))
    const data = join(home.path, 'data')
    const flags = ['--on-conflict', 'rename', '--log-lines-per-user', '1000']
    const logs: string[] = []
    let server = await daemon(data, flags)
    const to = ['--server', server.server, '--user', 'alice', '--state', join(home.path, 'state')]
    await using client = start('osp', ['send', '-r', '--json', '--limit-rate', '4M', ...to, 'folder'], {
      cwd: home.path,
    })
    try {
      for (const files of [40, 120, 200]) {
        while (stored(client.stdout) < files && client.child.exitCode === null) await pause(5)
        await server.kill()
        logs.push(server.stderr)
        assert.equal(client.child.exitCode, null, `the client ended too early: ${client.stderr}`)
        server = await daemon(data, [...flags, '--port', `${server.port}`])
      }
      const { code } = await client.ended
      assert.equal(code, 0, client.stderr)
    } finally {
      await server.kill()
      logs.push(server.stderr)
    }
    const reported = events(client.stdout).filter(({ event }) => event === 'stored')
    assert.deepEqual(reported.map(({ name }) => name).sort(), [...names].sort())
    const directory = join(data, 'files', 'alice')
    const found = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    assert.equal(found.length, names.length)
    for (const name of names)
      assert.deepEqual(Uint8Array.from(readFileSync(join(directory, name))), content(name), name)
    assert.deepEqual(readdirSync(join(data, 'partial')), [])
    const logged = logs
      .join('')
      .split('\n')
      .filter((line) => line.includes('upload-stored'))
    for (const name of names)
      assert.ok(
        logged.some((line) => line.includes(name)),
        `${name} is not in the log`,
      )
  })
})
