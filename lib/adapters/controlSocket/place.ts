import { createHash } from 'node:crypto'
import { lstat, realpath } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OspError } from '../../errors.ts'

/** Where the control socket of a directory is. Both sides compute it alike. */
export interface ControlPlace {
  /** What `node:net` listens at and connects to. */
  readonly path: string
  /** The directory that holds the socket; none for a named pipe. */
  readonly folder?: string
  /** Whether that directory is nothing but the socket's, and its owner's alone. */
  readonly isShort: boolean
}

/** A socket's path has about 104 bytes on some systems; what the name of its staging place takes more is left. */
const pathBytes = 90

/** Rejects with the errno of `realpath` for a directory that is not there. */
export async function controlPlace(directory: string): Promise<ControlPlace> {
  const folder = await realpath(directory)
  if (process.platform === 'win32') return { path: `\\\\.\\pipe\\ospd-${hashOf(folder.toLowerCase())}`, isShort: false }
  const path = join(folder, 'control.sock')
  if (Buffer.byteLength(path) <= pathBytes) return { path, folder, isShort: false }
  const short = join(tmpdir(), `ospd-${hashOf(`${ownId()} ${folder}`)}`)
  return { path: join(short, 'control.sock'), folder: short, isShort: true }
}

/** Rejects with OspError `unreachable` if another user has made the short place, or could change it. */
export async function checkShortPlace(folder: string): Promise<void> {
  const found = await lstat(folder)
  if (found.isDirectory() && found.uid === ownId() && (found.mode & 0o077) === 0) return
  throw new OspError('unreachable', `${folder} is not a directory of this user alone; remove it`)
}

const ownId = () => process.getuid?.()

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 32)
