import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { usersFile } from '../../lib/adapters/auth/usersFile.ts'
import { place } from '../support/commands.ts'
import { startNode } from '../support/processes.ts'
import { spec } from '../support/spec.ts'
import { canInject, type Injection, injecting } from '../support/strace.ts'

/** Paths of the affected files; default: the list. */
type Fault = Omit<Injection, 'paths'> & { readonly paths?: (directory: string) => readonly string[] }

/** Adds bob to a directory that has alice, by a process with a fault; `proof` checks the result. */
const adding =
  ({ paths = listPaths, ...fault }: Fault, proof: (left: Left) => void | Promise<void>) =>
  async () => {
    await using at = await place()
    const users = usersFile(at.path)
    await users.add('alice')
    const path = join(at.path, 'users.json')
    const before = readFileSync(path, 'utf8')
    const options = injecting({ ...fault, paths: paths(at.path) })
    const running = startNode('dist/bin/ospd.js', ['user', 'add', 'bob', '--data', at.path], options)
    const { code, signal } = await running.ended
    const names = (await users.list()).map(({ name }) => name)
    const isSame = readFileSync(path, 'utf8') === before
    await proof({ code, signal, names, isSame, stdout: running.stdout, stderr: running.stderr })
    await users.add('carol')
    assert.deepEqual(
      (await users.list()).map(({ name }) => name),
      [...names, 'carol'],
    )
  }

const listPaths = (directory: string) => ['users.json', 'users.json.new'].map((name) => join(directory, name))

interface Left {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly names: readonly string[]
  /** Checks that the list is unchanged, byte for byte. */
  readonly isSame: boolean
  readonly stdout: string
  readonly stderr: string
}

const renames = 'rename,renameat,renameat2'

spec('ospd user add', (it) => {
  if (!canInject) return it.skip('leaves a complete list whatever happens', 'strace may not inject faults here')

  for (const calls of ['openat', 'write', 'fsync', renames]) {
    it(
      `that is killed while it calls ${calls} leaves the list unchanged, and the next one works`,
      adding({ calls, fault: 'signal=SIGKILL:error=EIO', when: '1' }, ({ signal, isSame, stdout }) => {
        assert.deepEqual({ signal, isSame, stdout }, { signal: 'SIGKILL', isSame: true, stdout: '' })
      }),
    )
  }

  for (const [calls, error] of [
    ['write', 'ENOSPC'],
    ['fsync', 'EIO'],
    [renames, 'EIO'],
  ] as const) {
    it(
      `whose ${calls} fails with ${error} says so, and leaves the list unchanged`,
      adding({ calls, fault: `error=${error}`, when: '1' }, ({ code, isSame, stdout, stderr }) => {
        assert.ok(code === 1 || code === 5, `it ended with ${code}`)
        assert.deepEqual({ isSame, stdout }, { isSame: true, stdout: '' })
        assert.match(stderr, /^ospd: writing .*users\.json\.new failed/mu)
      }),
    )
  }

  it(
    'whose directory cannot be flushed says so, prints no token, and leaves a complete list',
    adding(
      { calls: 'fsync', fault: 'error=EIO', when: '1', paths: (directory) => [directory] },
      ({ code, names, stdout, stderr }) => {
        assert.ok(code === 1 || code === 5, `it ended with ${code}`)
        assert.deepEqual({ names, stdout }, { names: ['alice', 'bob'], stdout: '' })
        assert.match(stderr, /^ospd: /mu)
      },
    ),
  )

  it(
    'prints the token only after the directory was flushed',
    adding(
      { calls: 'fsync', fault: 'signal=SIGKILL:error=EIO', when: '1', paths: (directory) => [directory] },
      ({ signal, names, stdout }) => {
        assert.deepEqual({ signal, names, stdout }, { signal: 'SIGKILL', names: ['alice', 'bob'], stdout: '' })
      },
    ),
  )
})
