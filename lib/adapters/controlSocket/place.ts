import { createHash } from 'node:crypto'
import { closeSync, constants, existsSync, openSync } from 'node:fs'
import { lstat, realpath, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkDirectoryRights, checkOwned, openTrusted } from '../disk/rights.ts'

/** The path of a control socket, or of a file that names it, and its directory; or only the path of a named pipe of Windows. */
export type ControlPlace = Awaited<ReturnType<typeof controlPlace>>

/** Rejects with the errno of `realpath`; with OspError `data-format` if another user could create a socket in the directory. */
export async function controlPlace(directory: string) {
  const absolute = resolve(directory)
  const folder = await realpath(absolute)
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
export function socketPath(folder: string, name: string): SocketPath | undefined {
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
  const stats = await lstat(path)
  if (stats.isFile()) {
    const socket = await pointedAt(path)
    await checkPrivate(dirname(socket))
    return fixedPath(socket)
  }
  if (!stats.isSocket()) throw noSocket(path)
  checkOwned(path, stats)
  const socket = socketPath(dirname(path), basename(path))
  if (socket) return socket
  throw new OspError('unreachable', `the path ${path} is too long for a socket on this system; use a shorter path`)
}

/** Returns the text of the file that replaces a socket whose path would be too long. */
export const pointer = (socket: string) => `socket ${socket}\n`

/** Returns the path in a file that `pointer` made. */
export async function pointedAt(path: string): Promise<string> {
  await using file = await openTrusted(path, constants.O_RDONLY)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(pathBytes * 2), 0, pathBytes * 2, 0)
  const [, socket] = /^socket (\/.+\/control\.sock)\n$/u.exec(buffer.toString('utf8', 0, bytesRead)) ?? []
  if (socket === undefined) throw noSocket(path)
  return socket
}

/** Rejects with OspError `unreachable` if other users can enter a directory, and with `data-format` if they can replace it. */
export async function checkPrivate(folder: string): Promise<void> {
  checkDirectoryRights(folder)
  const found = await lstat(folder)
  if (found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0) return
  throw new OspError('unreachable', `${folder} is not a directory that only this user can enter; remove it`)
}

/** Removes the private directory of a socket. */
export async function removePrivate(folder: string): Promise<void> {
  try {
    await checkPrivate(folder)
    await rm(join(folder, 'control.sock'), { force: true })
    await rmdir(folder)
  } catch {
    // The directory is missing or belongs to another user now.
  }
}

const noSocket = (path: string) => new OspError('internal', `${path} is not a socket; move it away`)
