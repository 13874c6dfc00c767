import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, posix, win32 } from 'node:path'
import { cachedDataVersionTag } from 'node:v8'
import { crc32 } from 'node:zlib'
import { makeDirectories } from './directories.ts'

const dayMs = 24 * 60 * 60 * 1_000

/** The age at which a file is removed. Code for another version of the program has another file name, so it is never replaced. */
const keptMs = 30 * dayMs

/** The limit on the size of all files. The commands of one build need less than half of it. */
const keptBytes = 64 * 1_024 * 1_024

const sumBytes = 4

const writableByOthers = 0o022

const surroundings = () => ({ platform: process.platform, env: process.env, home: homeDirectory() })

function homeDirectory(): string {
  try {
    return homedir()
  } catch {
    // The user of a container may have an id without an entry in the list of users.
    return ''
  }
}

/** Returns this user's directory for compiled code; a relative path if the user has no home directory. */
export function codeDirectory({ platform, env, home } = surroundings()): string {
  if (platform === 'win32') return win32.join(env.LOCALAPPDATA || win32.join(home, 'AppData', 'Local'), 'osp', 'code')
  if (platform === 'darwin') return posix.join(home, 'Library', 'Caches', 'osp')
  // The XDG Base Directory Specification ignores relative paths.
  const { XDG_CACHE_HOME: cache = '' } = env
  return posix.join(posix.isAbsolute(cache) ? cache : posix.join(home, '.cache'), 'osp')
}

/**
 * The code that V8 compiled in an earlier run of a command, in a file of this user. The code is used only for the same source and
 * the same version and flags of V8, and only if no other user can have written it. No method throws.
 */
export class CodeCache {
  readonly #directory: string
  /** The end of the names of all files of this build. */
  readonly #build: string
  readonly #path: string

  /** `command` is part of a file name. Each command has its own code, since each calls different functions. */
  constructor(source: Uint8Array, command: string, directory: string = codeDirectory()) {
    this.#directory = directory
    this.#build = `-${crc32(source)}-${source.length}-${cachedDataVersionTag()}`
    this.#path = join(directory, `${command}${this.#build}`)
  }

  read(): Buffer | undefined {
    try {
      if (!isAbsolute(this.#directory) || !isOwn(lstatSync(this.#directory))) return undefined
      const content = readOwn(this.#path)
      if (!content) return undefined
      const code = content.subarray(sumBytes)
      return content.length > sumBytes && content.readUInt32BE() === crc32(code) ? code : undefined
    } catch {
      return undefined
    }
  }

  write(code: Buffer): void {
    try {
      if (!isAbsolute(this.#directory) || !belongsToUser(existingPart(this.#directory))) return
      makeDirectories(this.#directory, 0o700)
      if (!isOwn(lstatSync(this.#directory))) return
      const fresh = `${this.#path}.${process.pid}`
      const sum = Buffer.alloc(sumBytes)
      sum.writeUInt32BE(crc32(code))
      writeFileSync(fresh, Buffer.concat([sum, code]), { mode: 0o600 })
      renameSync(fresh, this.#path)
      this.#removeOld()
    } catch {
      // The next run compiles the source again.
    }
  }

  /** Removes files that are too old, and the oldest ones above the limit, those of other builds first. */
  #removeOld(): void {
    let bytes = 0
    for (const { path, age, size } of this.#files()) {
      bytes += size
      if (age > keptMs || bytes > keptBytes) rmSync(path, { force: true })
    }
  }

  /** Returns the files of this build and then the others, each from new to old. */
  #files() {
    const now = Date.now()
    return readdirSync(this.#directory)
      .flatMap((name) => {
        const path = join(this.#directory, name)
        const stats = statSync(path, { throwIfNoEntry: false })
        return stats ? [{ path, isOwn: name.endsWith(this.#build), age: now - stats.mtimeMs, size: stats.size }] : []
      })
      .sort((a, b) => Number(b.isOwn) - Number(a.isOwn) || a.age - b.age)
  }
}

/** Returns whether a file or a directory belongs to the user of this process. Always true on Windows. */
const belongsToUser = ({ uid }: Stats) => process.geteuid === undefined || uid === process.geteuid()

/** Returns whether only this user can have written a file or a directory. */
const isOwn = (stats: Stats) =>
  process.geteuid === undefined || (belongsToUser(stats) && (stats.mode & writableByOthers) === 0)

/** Returns the stats of the longest part of a path that exists. With `sudo` that can be the home directory of another user. */
function existingPart(path: string): Stats {
  return statSync(path, { throwIfNoEntry: false }) ?? existingPart(dirname(path))
}

function readOwn(path: string): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0))
  try {
    return isOwn(fstatSync(fd)) ? readFileSync(fd) : undefined
  } finally {
    closeSync(fd)
  }
}
