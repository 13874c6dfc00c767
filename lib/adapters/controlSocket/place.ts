import { createHash } from 'node:crypto'
import { closeSync, constants, existsSync, openSync } from 'node:fs'
import { lstat, realpath, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkDirectoryRights, checkOwned, openTrusted } from '../disk/rights.ts'

/** Where programs find the control socket of a directory. */
export interface ControlPlace {
  /** The socket, or a file that says where the socket is; on Windows a named pipe. */
  readonly path: string
  /** The directory that holds it; none for a named pipe. */
  readonly folder?: string
}

/**
 * Rejects with the errno of `realpath` if the directory is missing, and with OspError `data-format` if another user could
 * change or replace it: the socket in it could be that of another user.
 */
export async function controlPlace(directory: string): Promise<ControlPlace> {
  const absolute = resolve(directory)
  const folder = await realpath(absolute)
  if (process.platform === 'win32') return { path: `\\\\.\\pipe\\ospd-${hashOf(folder.toLowerCase())}` }
  checkDirectoryRights(absolute)
  return { path: join(folder, 'control.sock'), folder }
}

/** Maximum bytes of a socket's path: 104 on some systems, with a zero byte at the end. */
const pathBytes = 103

/** A path that `node:net` takes, valid until it is disposed of. */
export interface SocketPath extends Disposable {
  readonly path: string
}

/**
 * Returns a path that is short enough for a socket of this name in a directory: its own path or, on Linux, one through a
 * descriptor of the directory. `undefined` if the system has neither.
 */
export function socketPath(folder: string, name: string): SocketPath | undefined {
  const path = join(folder, name)
  if (Buffer.byteLength(path) <= pathBytes) return { path, [Symbol.dispose]() {} }
  if (process.platform !== 'linux') return undefined
  const descriptor = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  const through = `/proc/self/fd/${descriptor}`
  if (existsSync(join(through, '.')))
    return { path: join(through, name), [Symbol.dispose]: () => closeSync(descriptor) }
  // /proc is not mounted.
  closeSync(descriptor)
  return undefined
}

/**
 * Returns the path of the socket that is found at `path`. Rejects with the errno ENOENT if nothing is there, and with an
 * OspError if it is something else, or could be that of another user.
 */
export async function socketAt(path: string): Promise<SocketPath> {
  const stats = await lstat(path)
  if (stats.isFile()) {
    const socket = await pointedAt(path)
    await checkPrivate(dirname(socket))
    return { path: socket, [Symbol.dispose]() {} }
  }
  if (!stats.isSocket()) throw noSocket(path)
  checkOwned(path, stats)
  const socket = socketPath(dirname(path), basename(path))
  if (socket) return socket
  throw new OspError('unreachable', `the path ${path} is too long for a socket of this system; use a shorter one`)
}

/** Text of a file in the place of a socket whose path would be too long. The directory has a random name. */
export const pointer = (socket: string) => `socket ${socket}\n`

/** Returns the path in a file that `pointer` made. */
export async function pointedAt(path: string): Promise<string> {
  const file = await openTrusted(path, constants.O_RDONLY)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(pathBytes * 2), 0, pathBytes * 2, 0)
    const [, socket] = /^socket (\/.+\/control\.sock)\n$/u.exec(buffer.toString('utf8', 0, bytesRead)) ?? []
    if (socket === undefined) throw noSocket(path)
    return socket
  } finally {
    await file.close()
  }
}

/** Rejects with OspError `unreachable` if others than this user can enter a directory, with `data-format` if they can replace it. */
export async function checkPrivate(folder: string): Promise<void> {
  checkDirectoryRights(folder)
  const found = await lstat(folder)
  if (found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0) return
  throw new OspError('unreachable', `${folder} is not a directory of this user alone; remove it`)
}

/** Removes a directory that was made for a socket, if it is this user's alone. */
export async function removePrivate(folder: string): Promise<void> {
  try {
    await checkPrivate(folder)
    await rm(join(folder, 'control.sock'), { force: true })
    await rmdir(folder)
  } catch {
    // It is gone, or has become that of another user: then it is left.
  }
}

const noSocket = (path: string) =>
  new OspError('internal', `${path} is no socket, but stands in its place; move it away`)

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 32)
