import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { place } from '../support/commands.ts'
import { SeededRandom } from '../support/random.ts'
import { spec } from '../support/spec.ts'
import { CrashDisk, type Remains } from './crashDisk.ts'
import { stepsOf } from './trace.ts'

const hex = (text: string) => [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')
const text = (content: string) => `"${hex(content)}"`
const fd = (path: string) => `17<${hex(path)}>`
const cwd = `AT_FDCWD<${hex('/')}>`
const made = (path: string) => `9 openat(${cwd}, ${text(path)}, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600) = ${fd(path)}`
const wrote = (path: string, content: string) =>
  `9 write(${fd(path)}, ${text(content)}, ${content.length}) = ${content.length}`
const flushed = (path: string) => `9 fsync(${fd(path)}) = 0`

/** Returns the contents of `/top` after these calls and a power failure, by path. */
async function left(lines: readonly string[], kind: Remains): Promise<Record<string, string>> {
  await using at = await place()
  const disk = new CrashDisk('/top')
  for (const step of stepsOf(lines.join('\n'))) disk.take(step)
  const directory = join(at.path, 'cut')
  disk.cut(directory, kind, new SeededRandom(1))
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Object.fromEntries(files.map(({ name, parentPath }) => [name, readFileSync(join(parentPath, name), 'utf8')]))
}

const nothing = 'nothing that was not flushed'

spec('a power failure', (it) => {
  it('leaves a file whose content and directory were flushed, and no byte that was written later', async () => {
    const calls = [made('/top/a'), wrote('/top/a', 'old'), flushed('/top/a'), flushed('/top'), wrote('/top/a', ' new')]
    assert.deepEqual(await left(calls, nothing), { a: 'old' })
    assert.deepEqual(await left(calls, 'everything'), { a: 'old new' })
  })

  it('loses the name or the content of a file if its directory or the file was not flushed', async () => {
    const calls = [made('/top/a'), wrote('/top/a', 'old'), flushed('/top/a')]
    assert.deepEqual(await left(calls, nothing), {})
    const unflushed = [made('/top/b'), wrote('/top/b', 'lost')]
    assert.deepEqual(await left([...calls, ...unflushed], 'names without contents'), { a: 'old', b: '' })
    assert.deepEqual(await left([...calls, ...unflushed], 'contents without names'), {})
  })

  it('reverts a rename whose directory was not flushed', async () => {
    const before = [made('/top/a'), wrote('/top/a', 'x'), flushed('/top/a'), flushed('/top')]
    const renamed = `9 rename(${text('/top/a')}, ${text('/top/b')}) = 0`
    assert.deepEqual(await left([...before, renamed], nothing), { a: 'x' })
    assert.deepEqual(await left([...before, renamed, flushed('/top')], nothing), { b: 'x' })
  })

  it('leaves the data of a synchronous write', async () => {
    const open = `9 openat(${cwd}, ${text('/top/a')}, O_WRONLY|O_CREAT|O_DSYNC, 0600) = ${fd('/top/a')}`
    assert.deepEqual(await left([open, flushed('/top'), wrote('/top/a', 'x')], nothing), { a: 'x' })
  })

  it('leaves only data that was written before a flush began, if the flush succeeded', async () => {
    const before = [made('/top/a'), flushed('/top'), wrote('/top/a', 'early ')]
    const begun = `8 fsync(${fd('/top/a')} <unfinished ...>`
    const late = wrote('/top/a', 'late')
    assert.deepEqual(await left([...before, begun, late], nothing), { a: '' })
    assert.deepEqual(await left([...before, begun, late, '8 <... fsync resumed>) = 0'], nothing), { a: 'early ' })
    const failed = '8 <... fsync resumed>) = -1 EIO (Input/output error)'
    assert.deepEqual(await left([...before, begun, late, failed], nothing), { a: '' })
  })
})
