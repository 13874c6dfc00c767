import assert from 'node:assert/strict'
import calledHere from 'node:fs'
import fs, { readdir, readFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join, sep } from 'node:path'
import { disk } from '../../../lib/adapters/disk/disk.ts'
import { codeOf } from '../../../lib/errors.ts'
import { Mutex } from '../../../lib/runtime/mutex.ts'
import { type DiskServer, diskServer } from '../../support/diskServer.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { spec } from '../../support/spec.ts'
import { temporaryDirectory } from '../../testing/storage/places.ts'

type Call = (...args: unknown[]) => Promise<unknown>
type CallHere = (...args: unknown[]) => unknown

const calls = [
  'access',
  'lstat',
  'link',
  'mkdir',
  'open',
  'readdir',
  'readFile',
  'rename',
  'rm',
  'rmdir',
  'stat',
] as const
const all = [...calls, 'statfs', 'unlink'] as const
const callsHere = ['linkSync', 'lstatSync', 'openSync', 'renameSync', 'statSync'] as const

/**
 * Makes the functions of node:fs that the storage uses treat paths below `directory` as a case-insensitive, case-preserving file
 * system does: an entry is found under every case of its name, and none is created if one exists in another case.
 */
function caseInsensitive(directory: string): Disposable {
  const own = Object.fromEntries(all.map((name) => [name, fs[name]])) as unknown as Record<string, Call>
  const calling = new Mutex()
  const entries = async (path: string) => (await own.readdir?.(path).catch(() => [])) as string[]
  const found = async (path: unknown) => {
    if (typeof path !== 'string' || !path.startsWith(directory + sep)) return path
    let at = directory
    for (const part of path.slice(directory.length + 1).split(sep)) {
      const names = await entries(at)
      at = join(at, names.find((name) => name.toLowerCase() === part.toLowerCase()) ?? part)
    }
    return at
  }
  const folding =
    (name: string) =>
    (first: unknown, second: unknown, ...more: unknown[]) =>
      // One call at a time: a case-insensitive file system looks up and creates an entry in one step.
      calling.run(async () => {
        const isPair = name === 'link' || name === 'rename'
        return await own[name]?.(await found(first), isPair ? await found(second) : second, ...more)
      })
  const ownHere = Object.fromEntries(callsHere.map((name) => [name, calledHere[name]])) as unknown as Record<
    string,
    CallHere
  >
  const foundHere = (path: unknown) => {
    if (typeof path !== 'string' || !path.startsWith(directory + sep)) return path
    let at = directory
    for (const part of path.slice(directory.length + 1).split(sep)) {
      const names = calledHere.existsSync(at) ? calledHere.readdirSync(at) : []
      at = join(at, names.find((name) => name.toLowerCase() === part.toLowerCase()) ?? part)
    }
    return at
  }
  const foldingHere =
    (name: string): CallHere =>
    (first, second, ...more) => {
      const isPair = name === 'linkSync' || name === 'renameSync'
      return ownHere[name]?.(foundHere(first), isPair ? foundHere(second) : second, ...more)
    }
  Object.assign(fs, Object.fromEntries(all.map((name) => [name, folding(name)])))
  Object.assign(calledHere, Object.fromEntries(callsHere.map((name) => [name, foldingHere(name)])))
  syncBuiltinESMExports()
  return {
    [Symbol.dispose]() {
      Object.assign(fs, own)
      Object.assign(calledHere, ownHere)
      syncBuiltinESMExports()
    },
  }
}

const his = { name: 'a', bytes: patterned(100, 1) }
const hers = { name: 'b', bytes: patterned(100, 2) }

/** Runs `proof` with a server whose data directory folds case, and the folder of its files. */
const folding = (prove: (server: DiskServer, files: string) => Promise<void>) => async () => {
  await using place = await temporaryDirectory()
  using _folded = caseInsensitive(place.path)
  const data = join(place.path, 'data')
  await using server = await diskServer({ storage: disk(data) })
  await prove(server, join(data, 'files'))
}

spec('two users whose names differ only in case, on a disk that folds case,', (it) => {
  it(
    'share no folder: the later user is refused at the start of an upload',
    folding(async (server, files) => {
      const [bob, other] = [await server.client('Bob'), await server.client('bob')]
      await bob.upload(his)
      for (const name of ['a', 'b', 'folder/b']) {
        const { text } = await other.startRefused({ ...hers, name }, 'name-conflict')
        assert.match(text, /collides with Bob /u)
      }
      await bob.upload({ ...his, name: 'A2' })
      assert.deepEqual([await readdir(files), await readdir(join(files, 'Bob'))], [['Bob'], ['A2', 'a']])
    }),
  )

  it(
    'share no folder if both begin at the same time',
    folding(async (server, files) => {
      const users = [await server.client('Bob'), await server.client('bob')]
      const uploads = []
      for (const [at, user] of users.entries()) {
        const subject = { ...(at === 0 ? his : hers), name: `${at}` }
        const { instance } = await user.start(subject)
        await user.chunk(instance, 0, subject.bytes)
        uploads.push({ user, instance, digest: sha256(subject.bytes) })
      }
      for (const { user, instance, digest } of uploads) user.sendEnd(instance, digest)
      const codes = []
      for (const { user } of uploads) {
        const answer = await user.raw.next()
        codes.push(answer.event === 'FileMd5Nack' ? codeOf(answer.code) : answer.event)
      }
      assert.deepEqual(codes.sort(), ['FileMd5Ack', 'name-conflict'])
      const [folder = '', ...more] = await readdir(files)
      assert.deepEqual(more, [])
      const winner = folder === 'Bob' ? 0 : 1
      assert.deepEqual(await readdir(join(files, folder)), [`${winner}`])
      const stored = Uint8Array.from(await readFile(join(files, folder, `${winner}`)))
      assert.deepEqual(stored, (winner === 0 ? his : hers).bytes)
    }),
  )
})
