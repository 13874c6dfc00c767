import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type UsersFile, usersFile } from '../../../lib/adapters/auth/usersFile.ts'
import { fixed } from '../../../lib/limits.ts'
import { isUserName, nameKey } from '../../../lib/names.ts'
import { here } from '../../../lib/testing/authenticator.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'
import { coded } from '../codes.ts'
import type { Draw } from '../draw.ts'
import { jsonLike } from '../json.ts'
import { mutated } from '../mutate.ts'
import type { Pieces, Target } from '../target.ts'

/** The kinds of lists; `sound` makes a list from numbers of names and tokens, which must be accepted. */
const kinds = { read: 0, sound: 1, change: 2, tornLock: 3 } as const

const names = ['alice', 'bob', 'b\u00f3b', 'Carol', '\u5f20\u4f1f', 'constructor', '__proto__', 'x'.repeat(64)]
/** Each is an invalid name, or too similar to another one. */
const otherNames = ['ALICE', 'ALICE', '\uff42ob', 'carol', '..', '', 'a/b', 'x'.repeat(65), 'bo\u0301b', 'con']
const tokens = ['', 'osp_', `osp_${'a'.repeat(43)}`, 'b', '\u00e9', '0'.repeat(64)]
const since = '2026-01-01T00:00:00.000Z'
/** The files that LevelDB reads first in a lock. */
const lockFiles = ['CURRENT', 'MANIFEST-000001', 'MANIFEST-000002', 'LOCK', 'LOG', '000003.log', '000005.ldb']

/** One row of an accepted list. */
interface Row {
  readonly name: string
  readonly tokenSha256: string
}

/**
 * A list of users with an arbitrary file: it accepts logins by its tokens only, or is damaged and remains unchanged.
 */
export async function usersTarget(): Promise<Target> {
  const directory = await temporaryDirectory()
  const data = join(directory.path, 'data')
  return {
    make,
    run: async ([[kind = 0] = [], file = new Uint8Array(0), ...lock]) => {
      await mkdir(data)
      try {
        await run(data, kind, file, lock)
      } finally {
        await rm(data, { recursive: true })
      }
    },
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  }
}

/**
 * The kind; the file, or for a sound list one byte per user; then, for a damaged lock, a number of its files and their
 * bytes.
 */
function make(draw: Draw): Pieces {
  const sound = Uint8Array.from(draw.some(0, names.length, () => draw.below(names.length * tokens.length)))
  // Changing a list needs a lock and flushes, so most lists are only read.
  if (draw.once(4)) return [Uint8Array.of(kinds.sound), sound]
  if (draw.once(64)) return [Uint8Array.of(kinds.tornLock), file(draw), ...lockOf(draw)]
  return [Uint8Array.of(draw.once(12) ? kinds.change : kinds.read), file(draw)]
}

function file(draw: Draw): Uint8Array {
  if (draw.once(1_000)) return Buffer.alloc(100_000, draw.pick(['[', '{"a":', '"', ' ', '{"version":1,"users":[']))
  const rows = draw.some(0, 5, () => rowOf(draw.once(3) ? draw.pick(otherNames) : draw.pick(names), draw.pick(tokens)))
  const bytes = jsonLike({ version: 1, users: rows }, draw)
  return draw.once(6) ? mutated(bytes, draw) : bytes
}

function lockOf(draw: Draw): Pieces {
  return draw.some(1, 3, () => {
    const bytes = draw.pick([Buffer.from('MANIFEST-000001\n'), Buffer.from('\n'), draw.bytes(draw.below(60))])
    return Buffer.concat([Uint8Array.of(draw.below(lockFiles.length)), mutated(bytes, draw)])
  })
}

const hashOf = (token: string) => createHash('sha256').update(token).digest('hex')
const rowOf = (name: string, token: string) => ({ name, tokenSha256: hashOf(token), since })

/** The rows of a sound file: a repeated name has the token of its first row. */
function soundRows(bytes: Uint8Array): readonly Row[] {
  const rows = new Map<string, Row>()
  for (const byte of bytes) {
    const name = names[byte % names.length] ?? ''
    const token = tokens[Math.floor(byte / names.length) % tokens.length] ?? ''
    if (!rows.has(name)) rows.set(name, rowOf(name, token))
  }
  return [...rows.values()]
}

async function run(data: string, kind: number, file: Uint8Array, lock: Pieces): Promise<void> {
  const isSound = kind === kinds.sound
  const text = isSound ? JSON.stringify({ version: 1, users: soundRows(file) }) : Buffer.from(file)
  await writeFile(join(data, 'users.json'), text)
  if (kind === kinds.tornLock) await tear(join(data, 'users.lock'), lock)
  const users = usersFile(data)
  const listed = await coded(() => users.list(), 'data-format')
  assert.ok(listed || !isSound, 'a sound list is damaged')
  assert.equal(await users.exists(), true)
  if (!listed) return await assertShut(data, users, file, kind !== kinds.read)
  const rows = (JSON.parse(String(text)) as { users: Row[] }).users
  assert.deepEqual(listed.map(({ name }) => name).sort(), rows.map(({ name }) => name).sort())
  assert.ok(rows.length <= fixed.users && rows.every(({ name }) => isUserName(name)))
  assert.equal(new Set(rows.map(({ name }) => nameKey(name))).size, rows.length)
  await assertLetsIn(users, rows)
  if (kind === kinds.change || kind === kinds.tornLock) await change(data, users, rows)
}

async function tear(lock: string, pieces: Pieces): Promise<void> {
  await mkdir(lock)
  for (const [which = 0, ...bytes] of pieces) {
    await writeFile(join(lock, lockFiles[which % lockFiles.length] ?? ''), Uint8Array.from(bytes))
  }
}

/** Checks that each user of the list can log in with the token of the stored hash only, and that no other user can. */
async function assertLetsIn(users: UsersFile, rows: readonly Row[]): Promise<void> {
  const hashes = new Map(rows.map(({ name, tokenSha256 }) => [name, tokenSha256]))
  for (const user of new Set([...hashes.keys(), ...names.slice(0, 2), 'toString', '', 'ALICE'])) {
    assert.equal(await users.knows(user), hashes.has(user))
    for (const token of tokens) {
      const entered = await coded(() => users.authenticate({ user, token, peer: here }), 'unauthorized')
      assert.deepEqual(entered, hashes.get(user) === hashOf(token) ? { user } : undefined)
    }
  }
}

/** Checks that a damaged list refuses all logins, reports the reason to its owner only, and is not overwritten. */
async function assertShut(data: string, users: UsersFile, file: Uint8Array, changing: boolean): Promise<void> {
  const entering = (token: string) => () => users.authenticate({ user: 'alice', token, peer: here })
  for (const token of tokens) assert.equal(await coded(entering(token), 'internal'), undefined)
  assert.equal(await coded(() => users.knows('alice'), 'internal'), undefined)
  const uses = [() => users.add('zed'), () => users.rotate('alice'), async () => `${await users.remove('alice')}`]
  if (changing) for (const use of uses) assert.equal(await coded(use, 'data-format'), undefined)
  assert.deepEqual(await readFile(join(data, 'users.json')), Buffer.from(file))
}

/** Adds another user, rotates the token and removes the user; the other users remain unchanged. */
async function change(data: string, users: UsersFile, rows: readonly Row[]): Promise<void> {
  const former = await users.list()
  const first = await users.add('zed')
  const second = await users.rotate('zed')
  assert.deepEqual(
    (await users.list()).filter(({ name }) => name !== 'zed'),
    former,
  )
  const enter = (token: string) => coded(() => users.authenticate({ user: 'zed', token, peer: here }), 'unauthorized')
  assert.deepEqual([await enter(first), await enter(second)], [undefined, { user: 'zed' }])
  await users.remove('zed')
  assert.equal(await enter(second), undefined)
  for (const { name } of rows) assert.equal(await coded(() => users.add(name), 'name-conflict'), undefined)
  assert.deepEqual(await usersFile(data).list(), former)
  await assertLetsIn(users, rows)
  assert.deepEqual((await readdir(data)).sort(), ['users.json', 'users.lock'])
}
