import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { checkStoredName, checkUserName } from '../../names.ts'

/** The paths in a data directory. Paths with names consist of checked names only. */
export class Layout {
  readonly directory: string
  /** Text `ospd N CRC`: the version of this layout, and the CRC-32 of what precedes it. */
  readonly format: string
  /** The process that has the directory open: JSON { pid, startedAt }. */
  readonly owner: string
  /** The lock of the whole directory. */
  readonly lock: string
  /** The journal of unfinished uploads and of completion markers. */
  readonly uploads: string
  /** The ballast: space to free when the disk is full. */
  readonly ballast: string
  /** Partial files. They are on the file system of `files`, since publishing renames them. */
  partial: string
  readonly files: string
  /** The journal of messages. */
  readonly mailboxes: string
  /** The users of the server, written by `ospd user`. */
  readonly users: string
  /** The lock of the file of users. */
  readonly usersLock: string
  /** Key and certificate of `ospd serve --tls auto`. */
  readonly tls: string

  constructor(directory: string) {
    this.directory = resolve(directory)
    this.format = join(this.directory, 'format')
    this.owner = join(this.directory, 'daemon.json')
    this.lock = join(this.directory, 'lock')
    this.uploads = join(this.directory, 'uploads')
    this.ballast = join(this.directory, 'ballast')
    this.partial = join(this.directory, 'partial')
    this.files = join(this.directory, 'files')
    this.mailboxes = join(this.directory, 'mailboxes')
    this.users = join(this.directory, 'users.json')
    this.usersLock = join(this.directory, 'users.lock')
    this.tls = join(this.directory, 'tls')
  }

  /**
   * Places partial files below `files`, under a name that no user can have, if `files` is the root of another file
   * system.
   */
  keepPartialBelowFiles(): void {
    this.partial = join(this.files, ':partial')
  }

  /** Returns the name of the partial file of an upload: a hash, since a long name might not fit. */
  partialName(user: string, name: string): string {
    const subject = `${checkUserName(user)}/${checkStoredName(name)}`
    return `${createHash('sha256').update(subject).digest('hex').slice(0, 32)}.part`
  }

  partialOf(user: string, name: string): string {
    return join(this.partial, this.partialName(user, name))
  }

  /** Returns the parts of the path of a published file below `files`. */
  partsOf(user: string, storedName: string): readonly string[] {
    return [checkUserName(user), ...checkStoredName(storedName).split('/')]
  }
}
