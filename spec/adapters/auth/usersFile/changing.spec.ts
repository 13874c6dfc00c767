import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { usersFile } from '../../../../lib/adapters/auth/usersFile.ts'
import { exclusively } from '../../../../lib/adapters/disk/lock.ts'
import { deferred } from '../../../../lib/runtime/deferred.ts'
import { spec } from '../../../support/spec.ts'
import { canMount, smallDisk, temporaryDirectory } from '../../../testing/storage/places.ts'
import { enter, fileOf } from './entering.ts'

const names = (count: number) => Array.from({ length: count }, (_, at) => `user${at}`)

async function removeAll(directory: string, pattern: RegExp): Promise<void> {
  const found = (await readdir(directory)).filter((name) => pattern.test(name))
  assert.ok(found.length > 0)
  await Promise.all(found.map((name) => rm(join(directory, name))))
}

/** A process that changes the users of a directory and never ends that; resolves when it is at it. */
async function changeForEver(directory: string) {
  const url = (path: string) => JSON.stringify(new URL(`../../../../lib/adapters/${path}`, import.meta.url).href)
  const code = `
    import { exclusively } from ${url('disk/lock.ts')}
    await exclusively(${JSON.stringify(join(directory, 'users.lock'))}, () => {
      console.log('at it')
      return new Promise(() => setInterval(() => {}, 1_000))
    })`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return child
}

spec('changes of a users’ file', (it) => {
  it('made at the same time are all applied', async () => {
    await using place = await temporaryDirectory()
    const tokens = await Promise.all(names(12).map((name) => usersFile(place.path).add(name)))
    const users = usersFile(place.path)
    assert.deepEqual(
      (await users.list()).map(({ name }) => name),
      names(12).sort(),
    )
    await Promise.all(names(12).map((name, at) => enter(users, name, tokens[at] ?? '')))
  })

  it('that add one name at the same time add it once', async () => {
    await using place = await temporaryDirectory()
    const added = await Promise.allSettled(names(4).map(() => usersFile(place.path).add('alice')))
    assert.equal(added.filter(({ status }) => status === 'fulfilled').length, 1)
    const token = added.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))[0]
    await enter(usersFile(place.path), 'alice', token ?? '')
  })

  it('wait for each other', async () => {
    await using place = await temporaryDirectory()
    const [begun, end] = [deferred<void>(), deferred<void>()]
    const done: string[] = []
    const first = exclusively(join(place.path, 'users.lock'), async () => {
      begun.resolve()
      await end.promise
      done.push('first')
    })
    await begun.promise
    const second = usersFile(place.path)
      .add('alice')
      .then(() => done.push('second'))
    end.resolve()
    await Promise.all([first, second])
    assert.deepEqual(done, ['first', 'second'])
  })

  it('do not wait for a killed process, and ignore its leftovers', async () => {
    await using place = await temporaryDirectory()
    const users = usersFile(place.path)
    const alice = await users.add('alice')
    const child = await changeForEver(place.path)
    await writeFile(`${fileOf(place.path)}.new`, '{"version": 1, "us', { mode: 0o644 })
    const added = users.add('bob')
    child.kill('SIGKILL')
    await enter(users, 'bob', await added)
    await enter(users, 'alice', alice)
    assert.deepEqual((await readdir(place.path)).sort(), ['users.json', 'users.lock'])
  })

  for (const [what, damage] of [
    ['an empty CURRENT', (lock: string) => writeFile(join(lock, 'CURRENT'), '')],
    ['no manifest', (lock: string) => removeAll(lock, /^MANIFEST/u)],
    ['a CURRENT that names a folder', (lock: string) => writeFile(join(lock, 'CURRENT'), '\n')],
    ['a CURRENT whose name has a NUL', (lock: string) => writeFile(join(lock, 'CURRENT'), 'M\0\n')],
  ] as const) {
    it(`ignore a lock that a crash has damaged by ${what}`, async () => {
      await using place = await temporaryDirectory()
      await usersFile(place.path).add('alice')
      await damage(join(place.path, 'users.lock'))
      await Promise.all(['bob', 'carol', 'dave'].map((name) => usersFile(place.path).add(name)))
      assert.equal((await usersFile(place.path).list()).length, 4)
    })
  }

  it('fail if another process keeps the lock', async () => {
    await using place = await temporaryDirectory()
    const child = await changeForEver(
      await usersFile(place.path)
        .add('alice')
        .then(() => place.path),
    )
    try {
      await assert.rejects(usersFile(place.path).add('bob'), { code: 'data-locked', message: /another process/u })
      assert.equal((await usersFile(place.path).list()).length, 1)
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })

  if (!canMount) it.skip('that fail on a full disk change nothing', 'this process may not mount a disk')
  else
    it('that fail on a full disk change nothing', async () => {
      await using place = await smallDisk(1_048_576)
      const users = usersFile(place.path)
      await users.add('alice')
      const before = await readFile(fileOf(place.path), 'utf8')
      await writeFile(join(place.path, 'ballast'), new Uint8Array(2_000_000)).catch(() => {})
      await assert.rejects(users.add('bob'), { code: 'disk-full' })
      assert.equal(await readFile(fileOf(place.path), 'utf8'), before)
    })
})
