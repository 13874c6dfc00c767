import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { OspError } from '../../errors.ts'
import { attempt, errnoOf, unless } from '../disk/faults.ts'
import { checkDirectoryRights, checkOwned, openTrusted } from '../disk/rights.ts'

/** The path of a control socket, or of a file that names it, and its directory; or only the path of a named pipe of Windows. */
export type ControlPlace = Awaited<ReturnType<typeof controlPlace>>

/** Rejects with the errno of `realpath`; with OspError `data-format` if another user could create a socket in the directory. */
export async function controlPlace(directory: string) {
  const absolute = resolve(directory)
  const folder = realpathSync.native(absolute)
  if (process.platform === 'win32') {
    const hash = createHash('sha256').update(folder.toLowerCase()).digest('hex').slice(0, 32)
    return { path: `\\\\.\\pipe\\ospd-${hash}` }
  }
  checkDirectoryRights(absolute)
  return { path: join(folder, 'control.sock'), folder }
}

/** The maximum length of the path of a socket: 104 bytes on some systems, including a zero byte. */
const pathBytes = 103

/** A path that `node:net` accepts. Valid until it is disposed of. */
export interface SocketPath extends Disposable {
  readonly path: string
}

export const fixedPath = (path: string): SocketPath => ({ path, [Symbol.dispose]() {} })

/** Returns a path that is short enough for a socket, on Linux also through a descriptor of `folder`; or `undefined`. */
function socketPath(folder: string, name: string): SocketPath | undefined {
  const path = join(folder, name)
  if (Buffer.byteLength(path) <= pathBytes) return fixedPath(path)
  if (process.platform !== 'linux') return undefined
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  const through = `/proc/self/fd/${descriptor}`
  if (existsSync(join(through, '.')))
    return { path: join(through, name), [Symbol.dispose]: () => closeSync(descriptor) }
  // /proc is not mounted.
  closeSync(descriptor)
  return undefined
}

/** Returns the path of the socket at `path`. Rejects with ENOENT if there is none, or with an OspError if it is not safe. */
export async function socketAt(path: string): Promise<SocketPath> {
  const stats = lstatSync(path)
  if (stats.isFile()) {
    const socket = await pointedAt(path)
    checkPrivate(dirname(socket))
    return fixedPath(socket)
  }
  if (!stats.isSocket()) throw noSocket(path)
  checkOwned(path, stats)
  const socket = socketPath(dirname(path), basename(path))
  if (socket) return socket
  throw new OspError('unreachable', `the path ${path} is too long for a socket on this system; use a shorter path`)
}

/** Returns the path in a file that replaces a socket whose own path would be too long. */
async function pointedAt(path: string): Promise<string> {
  await using file = await openTrusted(path, constants.O_RDONLY)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(pathBytes * 2), 0, pathBytes * 2, 0)
  const [, socket] = /^socket (\/.+\/control\.sock)\n$/u.exec(buffer.toString('utf8', 0, bytesRead)) ?? []
  if (socket === undefined) throw noSocket(path)
  return socket
}

/** Throws OspError `unreachable` if other users can enter a directory, and `data-format` if they can replace it. */
function checkPrivate(folder: string): void {
  checkDirectoryRights(folder)
  const found = lstatSync(folder)
  if (found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0) return
  throw new OspError('unreachable', `${folder} is not a directory that only this user can enter; remove it`)
}

/** Removes the private directory of a socket. */
async function removePrivate(folder: string): Promise<void> {
  try {
    checkPrivate(folder)
    await remove(join(folder, 'control.sock'))
    rmdirSync(folder)
  } catch {
    // The directory is missing or belongs to another user now.
  }
}

const noSocket = (path: string) => new OspError('internal', `${path} is not a socket; move it away`)

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

/** Makes a server listen, for its owner only. Rejects with OspError `data-locked` if another program listens there. */
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
  const aside = await attempt(`creating a directory in ${folder}`, async () => mkdtempSync(join(folder, 'control-')))
  try {
    const first = join(aside, 's')
    const stopFirst = await listenFirst(server, aside, first)
    let ino: number | undefined
    const stop = async () => {
      try {
        // The directory may have been moved, and another program may use this path now.
        const there = await look(path)
        if (there && there.ino === ino) await remove(path)
      } finally {
        await stopFirst()
      }
    }
    return await stoppable(stop, async () => {
      ino = (await attempt(`checking ${first}`, async () => lstatSync(first))).ino
      await linkExclusively(first, path)
    })
  } finally {
    await remove(join(aside, 's'))
    await unless(['ENOENT'], `removing ${aside}`, async () => rmdirSync(aside))
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
    await attempt(`setting the permissions of ${first}`, async () => chmodSync(first, 0o600))
  })
}

/** Listens in a new temporary directory, whose random name no user can guess, and creates a file that names the socket. */
export async function listenElsewhere(server: Server, first: string): Promise<Stop> {
  const base = await attempt(`checking ${tmpdir()}`, async () => realpathSync.native(tmpdir()))
  const folder = await attempt(`creating a directory in ${base}`, async () => mkdtempSync(join(base, 'ospd-')))
  const stop = async () => {
    server.close()
    await removePrivate(folder)
  }
  return stoppable(stop, async () => {
    const socket = socketPath(folder, 'control.sock')
    if (!socket) throw new OspError('internal', `the path ${folder} is too long for a socket; set a shorter TMPDIR`)
    const { path } = socket
    await attempt(`checking ${folder}`, async () => checkPrivate(folder))
    await attempt(`listening at ${path}`, () => listening(server, socket))
    await attempt(`setting the permissions of ${path}`, async () => chmodSync(path, 0o600))
    await attempt(`writing ${first}`, async () => writeFileSync(first, `socket ${path}\n`, { flag: 'wx', mode: 0o600 }))
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
  unless(expected, `creating ${to}`, async () => {
    linkSync(from, to)
    return true
  })

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
    await remove(path)
    return 'free'
  } finally {
    await remove(claim)
  }
}

async function claimed(path: string, claim: string): Promise<boolean> {
  if (await linked(path, claim, ['EEXIST', 'ENOENT'])) return true
  const there = await look(claim)
  // Creating a link updates the change time of the file.
  if (there && Date.now() - there.ctimeMs > removingMs) await remove(claim)
  return false
}

const remove = (path: string) => unless(['ENOENT'], `removing ${path}`, async () => unlinkSync(path))

const look = (path: string) => unless(['ENOENT'], `checking ${path}`, async () => lstatSync(path))

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
