import { once } from 'node:events'
import { chmod, link, lstat, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { attempt, errnoOf, unless } from '../disk/faults.ts'
import { type ControlPlace, checkPrivate, pointedAt, pointer, removePrivate, socketAt, socketPath } from './place.ts'

/** The number and the interval of attempts while another program frees the path. */
const tries = 200
const pauseMs = 5

type Stop = () => Promise<void>

/** Resolves with `stop` when `work` has ended. If `work` rejects, calls `stop` and rejects too. */
async function stoppable(stop: Stop, work: () => Promise<void>): Promise<Stop> {
  try {
    await work()
    return stop
  } catch (error) {
    await stop()
    throw error
  }
}

/**
 * Makes a server listen, for its owner only. Resolves with a function that stops listening and removes the file of the
 * socket. Rejects with OspError `data-locked` if another program listens there.
 */
export async function listenAt(server: Server, { path, folder }: ControlPlace): Promise<Stop> {
  if (folder !== undefined) return await listenInside(server, path, folder)
  const listens = () => listening(server, { path }).then(() => true)
  if (!(await unless(['EADDRINUSE'], `listening at ${path}`, listens))) throw locked(path)
  return async () => void server.close()
}

/**
 * Listens inside the directory. Other users may be able to enter it, and a new socket has default permissions. The socket is
 * therefore created in a private subdirectory, and linked to its path after its permissions are set.
 */
async function listenInside(server: Server, path: string, folder: string): Promise<Stop> {
  const aside = await attempt(`creating a directory in ${folder}`, () => mkdtemp(join(folder, 'control-')))
  try {
    const first = join(aside, 's')
    const stopFirst = await listenFirst(server, aside, first)
    let ino: number | undefined
    const stop = async () => {
      try {
        // The directory may have been moved, and another program may use this path now.
        const there = await look(path)
        if (there && there.ino === ino) await attempt(`removing ${path}`, () => rm(path, { force: true }))
      } finally {
        await stopFirst()
      }
    }
    return await stoppable(stop, async () => {
      ino = (await attempt(`checking ${first}`, () => lstat(first))).ino
      await linkExclusively(first, path)
    })
  } finally {
    await attempt(`removing ${aside}`, () => rm(aside, { recursive: true, force: true }))
  }
}

/** Creates the socket, or the file that names it. Resolves with a function that stops listening. */
async function listenFirst(server: Server, aside: string, first: string): Promise<Stop> {
  const socket = await attempt(`listening at ${first}`, async () => socketPath(aside, 's'))
  if (!socket) return await listenElsewhere(server, first)
  const stop = async () => {
    // The system removes the file through this path, which must lead to the same directory until then.
    server.close()
    socket[Symbol.dispose]()
  }
  return stoppable(stop, async () => {
    await attempt(`listening at ${first}`, () => listening(server, socket))
    await attempt(`setting the permissions of ${first}`, () => chmod(first, 0o600))
  })
}

/** Listens in a new temporary directory, whose random name no user can guess, and creates a file that names the socket. */
export async function listenElsewhere(server: Server, first: string): Promise<Stop> {
  const base = await attempt(`checking ${tmpdir()}`, () => realpath(tmpdir()))
  const folder = await attempt(`creating a directory in ${base}`, () => mkdtemp(join(base, 'ospd-')))
  const stop = async () => {
    server.close()
    await removePrivate(folder)
  }
  return stoppable(stop, async () => {
    const socket = socketPath(folder, 'control.sock')
    if (!socket) throw new OspError('internal', `the path ${folder} is too long for a socket; set a shorter TMPDIR`)
    const { path } = socket
    await attempt(`checking ${folder}`, () => checkPrivate(folder))
    await attempt(`listening at ${path}`, () => listening(server, socket))
    await attempt(`setting the permissions of ${path}`, () => chmod(path, 0o600))
    await attempt(`writing ${first}`, () => writeFile(first, pointer(path), { flag: 'wx', mode: 0o600 }))
  })
}

async function listening(server: Server, { path }: { readonly path: string }): Promise<void> {
  await once(server.listen({ path, exclusive: true }), 'listening')
}

/** Links `path` to `first` in place of a socket without a listener. */
async function linkExclusively(first: string, path: string): Promise<void> {
  for (let left = tries; left > 0; left--) {
    if (await linked(first, path, ['EEXIST'])) return
    const state = await removeDead(path)
    if (state === 'alive') break
    if (state === 'busy') await pause(pauseMs)
  }
  throw locked(path)
}

/** Resolves with true if the link was created, and with `undefined` if an errno of `expected` prevented it. */
const linked = (from: string, to: string, expected: readonly string[]) =>
  unless(expected, `creating ${to}`, () => link(from, to).then(() => true))

const locked = (path: string) =>
  new OspError('data-locked', `another process listens at ${path}; stop it or specify another directory`)

/** The time after which a program that was removing a dead socket is considered dead. */
const removingMs = 10_000

/**
 * Removes a socket without a listener. Resolves with `free` if the path is free, `alive` if a program listens there, and
 * `busy` while another program removes the socket.
 *
 * The remover first creates a second link to the socket, whose name only one program can create. No program therefore
 * removes a socket that another has created meanwhile. A dead socket stays dead, so a check under the second name is final.
 */
async function removeDead(path: string): Promise<'free' | 'alive' | 'busy'> {
  const there = await look(path)
  if (!there) return 'free'
  if (await isAlive(path)) return 'alive'
  const elsewhere = there.isFile() ? await pointedAt(path) : undefined
  const claim = join(dirname(path), `control.${there.ino}`)
  if (!(await claimed(path, claim))) return 'busy'
  try {
    const own = await look(claim)
    if (own?.ino !== there.ino || (await isAlive(claim))) return 'busy'
    if (elsewhere !== undefined) await removePrivate(dirname(elsewhere))
    await attempt(`removing ${path}`, () => rm(path, { force: true }))
    return 'free'
  } finally {
    await attempt(`removing ${claim}`, () => rm(claim, { force: true }))
  }
}

async function claimed(path: string, claim: string): Promise<boolean> {
  if (await linked(path, claim, ['EEXIST', 'ENOENT'])) return true
  const there = await look(claim)
  // Creating a link updates the change time of the file.
  if (there && Date.now() - there.ctimeMs > removingMs)
    await attempt(`removing ${claim}`, () => rm(claim, { force: true }))
  return false
}

const look = (path: string) => unless(['ENOENT'], `checking ${path}`, () => lstat(path))

/** Resolves with whether a program listens there. Only a refused connection means that none does. Rejects for another file. */
async function isAlive(path: string): Promise<boolean> {
  using at = await unless(['ENOENT'], `checking ${path}`, () => socketAt(path))
  if (!at) return false
  return await new Promise((resolve) => {
    const socket = connect({ path: at.path })
    socket.on('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error) ?? '')))
    socket.on('connect', () => {
      resolve(true)
      socket.destroy()
    })
  })
}
