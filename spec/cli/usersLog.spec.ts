import assert from 'node:assert/strict'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { daemon, place, run } from '../support/commands.ts'
import { spec } from '../support/spec.ts'

async function user(data: string, ...line: readonly string[]): Promise<void> {
  const { code, stderr } = await run('ospd', ['user', ...line, '--data', data])
  assert.equal(code, 0, stderr)
}

spec('the log of ospd serve', (it) => {
  it('reports added, rotated and removed users, and an empty list', async () => {
    await using at = await place()
    await using server = await daemon(at.path)
    await user(at.path, 'add', 'alice')
    await server.printed(/ info {2}users-changed user=alice how=added\n/u)
    await user(at.path, 'rotate', 'alice')
    await server.printed(/ info {2}users-changed user=alice how=rotated\n/u)
    await user(at.path, 'remove', 'alice')
    await server.printed(/ info {2}users-changed user=alice how=removed\n.* warn {2}users-empty text="/u)
  })

  it('reports at the start that the list of users is empty', async () => {
    await using at = await place()
    await user(at.path, 'add', 'alice')
    await user(at.path, 'remove', 'alice')
    await using server = await daemon(at.path)
    assert.match(server.stderr, / warn {2}users-empty /u)
  })

  it('reports at the start that the list of users is damaged, and later that it is readable', async () => {
    await using at = await place()
    await at.write('users.json', '{')
    await using server = await daemon(at.path)
    await server.printed(/ error users-unreadable text="all logins are rejected: .*users\.json is not a list of users/u)
    await at.write('users.json', '{"version": 1, "users": []}')
    await server.printed(/ info {2}users-readable users=0\n/u)
  })

  it('reports once that the list of users is missing, and once that it is back', async () => {
    await using at = await place()
    await user(at.path, 'add', 'alice')
    await using server = await daemon(at.path)
    const [list, away] = [join(at.path, 'users.json'), join(at.path, 'away')]
    renameSync(list, away)
    await server.printed(/ error users-unreadable text="all logins are rejected: the list of users .* is missing/u)
    renameSync(away, list)
    await server.printed(/ info {2}users-readable users=1\n/u)
    await server.kill('SIGTERM')
    assert.equal(server.stderr.match(/users-/gu)?.length, 2, server.stderr)
  })
})
