import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { checkStoredName, checkUserName } from '../../names.ts'

/** The paths in a data directory. Paths with names consist of checked names only. */
export type Layout = ReturnType<typeof layoutOf>

/** Returns the layout of a data directory. */
export function layoutOf(path: string) {
  const directory = resolve(path)
  return {
    directory,
    /** Text `ospd N CRC`: the version of this layout, and the CRC-32 of what precedes it. */
    format: join(directory, 'format'),
    /** The process that has the directory open: JSON { pid, startedAt, ticks }. */
    owner: join(directory, 'daemon.json'),
    /** The lock of the whole directory. */
    lock: join(directory, 'lock'),
    /** The journal of unfinished uploads and of completion markers. */
    uploads: join(directory, 'uploads'),
    /** The ballast: space to free when the disk is full. */
    ballast: join(directory, 'ballast'),
    /** Partial files. Publishing renames them: they are below `files` if that is another mount. */
    partial: join(directory, 'partial'),
    files: join(directory, 'files'),
    /** The database of the records of stored files. */
    catalogue: join(directory, 'catalogue'),
    /** The secret key of references to stored files. */
    key: join(directory, 'grants.key'),
    /** The journal of messages. */
    mailboxes: join(directory, 'mailboxes'),
    /** The users of the server, written by `ospd user`. */
    users: join(directory, 'users.json'),
    /** The lock of the file of users. */
    usersLock: join(directory, 'users.lock'),
    /** Key and certificate of `ospd serve --tls auto`. */
    tls: join(directory, 'tls'),

    partialOf(user: string, name: string): string {
      return join(this.partial, partialName(user, name))
    },

    /** Returns the parts of the path of a published file below `files`. */
    partsOf(user: string, storedName: string): readonly string[] {
      return [checkUserName(user), ...checkStoredName(storedName).split('/')]
    },
  }
}

/** Returns the name of the partial file of an upload: a hash, since a long name might not fit. */
export function partialName(user: string, name: string): string {
  const subject = `${checkUserName(user)}/${checkStoredName(name)}`
  return `${createHash('sha256').update(subject).digest('hex').slice(0, 32)}.part`
}
