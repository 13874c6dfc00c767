import { createHash } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, link, lstat, open, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Digests } from '../../ports/platform.ts'
import type { FileTarget, OpenTarget, TargetContent } from '../../ports/target.ts'
import { hex } from '../../runtime/hex.ts'
import { digestOf } from '../../runtime/incrementalDigest.ts'
import { lengthOf, type Parts } from '../../wire/codec.ts'
import { errnoOf, isFull, pathReason, systemErrorOf } from '../disk/faults.ts'
import { readFull } from '../disk/readFull.ts'
import { absolutePath, pathBytes, pathOf } from './pathText.ts'

/** Options for a file to write. */
export interface FileTargetOptions {
  /** Whether an existing file whose content differs is replaced. */
  readonly overwrite?: boolean
}

/**
 * Returns a file of this machine as the target of a download. `path` is relative to the current working directory, or a `file:`
 * URL. The content is written to `PATH.part`, and `PATH.part.json` identifies that content: an interrupted download can continue.
 * An existing file with the same content is left unchanged. A file that replaces another one gets its permissions; a symbolic
 * link is itself replaced.
 */
export function fileTarget(path: string | URL, options: FileTargetOptions = {}): FileTarget {
  checkArgument('fileTarget', 'the path', kinds.localPath, path)
  checkOptions('fileTarget', { overwrite: optional(kinds.flag) }, options)
  const full = absolutePath(pathOf('fileTarget', path))
  const { overwrite = false } = options
  return {
    async open(content, digests) {
      try {
        const there = await existing(full)
        if (there && (await hasContent(full, there, content, digests))) {
          await removeOwnPart(full)
          return undefined
        }
        if (there) checkReplaceable(full, there, overwrite)
        return await openPart(full, content, { overwrite, mode: there && Number(there.mode) & 0o777 })
      } catch (error) {
        throw unwritable(full, error)
      }
    },
  }
}

/** How a file is committed. */
interface CommitOptions {
  readonly overwrite: boolean
  /** The permissions of the file that is replaced, if there is one. */
  readonly mode: number | undefined
}

const big = { bigint: true } as const

async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Returns the stats of the entry at a path: of its target, if it is a symbolic link that has one. */
async function existing(path: string): Promise<BigIntStats | undefined> {
  const at = pathBytes(path)
  const itself = await unlessMissing(lstat(at, big))
  if (!itself?.isSymbolicLink()) return itself
  return (await unlessMissing(stat(at, big))) ?? itself
}

/** Resolves with whether a file already has this content. */
async function hasContent(
  path: string,
  stats: BigIntStats,
  { size, algorithm, digest }: TargetContent,
  digests: Digests,
): Promise<boolean> {
  if (!stats.isFile() || stats.size !== BigInt(size)) return false
  await using handle = await open(pathBytes(path))
  const found = await digestOf(digests, algorithm, size, (into, offset) => readFull(handle, into, offset))
  return found !== undefined && hex(found) === digest
}

function checkReplaceable(path: string, stats: BigIntStats, overwrite: boolean): void {
  if (stats.isDirectory()) throw new OspError('target-exists', `${path} is a directory; choose another path`)
  if (!stats.isFile() && !stats.isSymbolicLink()) {
    throw new OspError('target-exists', `${path} is not a regular file; choose another path`)
  }
  if (overwrite) return
  const text = `${path} already exists with other content; specify overwrite, or choose another path`
  throw new OspError('target-exists', text)
}

/** The longest name of a file system entry, and the longest suffix of the temporary names. */
const [longestName, suffixBytes] = [255, 10]

/** Returns the path of the partial file, beside the file. The path of its record ends with `.json` in addition. */
function partPath(path: string): string {
  const name = basename(path)
  const isLong = Buffer.from(pathBytes(name) as string).length + suffixBytes > longestName
  const stem = isLong ? createHash('sha256').update(name).digest('hex') : name
  return join(dirname(path), `${stem}.part`)
}

/** Returns the paths of the partial file and its record as the system takes them. */
function partPaths(path: string): { readonly part: string | Buffer; readonly record: string | Buffer } {
  const part = partPath(path)
  return { part: pathBytes(part), record: pathBytes(`${part}.json`) }
}

/** Removes the partial file if it was left by an interrupted download. */
async function removeOwnPart(path: string): Promise<void> {
  if (isRecord(await keptRecord(partPaths(path).record))) await removePart(path)
}

/** Resolves with the text of a record, or of another regular file of its name; with an empty text if something else is there. */
async function keptRecord(record: string | Buffer): Promise<string | undefined> {
  const stats = await unlessMissing(lstat(record))
  if (!stats) return undefined
  return stats.isFile() && stats.size <= longestRecord ? await unlessMissing(readFile(record, 'utf8')) : ''
}

async function removePart(path: string): Promise<void> {
  const { part, record } = partPaths(path)
  await rm(part, { force: true })
  await rm(record, { force: true })
}

const recordStart = '{"osp":1,'

const longestRecord = 1_024

const isRecord = (text: string | undefined): boolean => text?.startsWith(recordStart) ?? false

/** Identifies content. Two records are equal if the contents are the same. */
const recordOf = ({ size, algorithm, digest }: TargetContent) =>
  `${JSON.stringify({ osp: 1, size, algorithm, digest })}\n`

/** Opens the partial file: the existing one if it has this content, or else a new one. */
async function openPart(path: string, content: TargetContent, options: CommitOptions): Promise<OpenTarget> {
  const { part, record } = partPaths(path)
  const wanted = recordOf(content)
  const kept = await keptRecord(record)
  if (!isRecord(kept)) {
    if (kept !== undefined) throw foreign(`${partPath(path)}.json`)
    if (await unlessMissing(lstat(part))) throw foreign(partPath(path))
  }
  const old = kept === wanted ? await openKept(part, content.size) : undefined
  if (old) return new PartFile(path, old.handle, old.size, content, options)
  // Another program may still write to the existing file, so the new one must be another file.
  await removePart(path)
  const { O_RDWR, O_CREAT, O_EXCL } = constants
  try {
    await writeFile(record, wanted, { flag: 'wx' })
    return new PartFile(path, await open(part, O_RDWR | O_CREAT | O_EXCL), 0, content, options)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') await removePart(path).catch(() => {})
    throw error
  }
}

/** Returns the error for a temporary name that another program uses. */
const foreign = (path: string) =>
  new OspError('target-exists', `${path} already exists and belongs to another program; rename or remove it`)

/** Opens the file of an interrupted download. Resolves with `undefined` if other users may have created it, or it is too long. */
async function openKept(
  part: string | Buffer,
  most: number,
): Promise<{ readonly handle: FileHandle; readonly size: number } | undefined> {
  const stats = await unlessMissing(lstat(part))
  if (!stats?.isFile() || stats.nlink !== 1 || stats.size > most) return undefined
  if (process.getuid && stats.uid !== process.getuid()) return undefined
  const handle = await open(part, constants.O_RDWR | (constants.O_NOFOLLOW ?? 0))
  return { handle, size: stats.size }
}

/** The partial file of one download. */
class PartFile implements OpenTarget {
  readonly keptBytes: number
  readonly #path: string
  readonly #handle: FileHandle
  readonly #content: TargetContent
  readonly #options: CommitOptions

  constructor(path: string, handle: FileHandle, keptBytes: number, content: TargetContent, options: CommitOptions) {
    this.#path = path
    this.#handle = handle
    this.keptBytes = keptBytes
    this.#content = content
    this.#options = options
  }

  async write(bytes: Parts, offset: number): Promise<void> {
    try {
      let left = bytes
      for (let at = offset; lengthOf(left) > 0; ) {
        const { bytesWritten } = await this.#handle.writev(left as Uint8Array[], at)
        at += bytesWritten
        left = withoutStart(left, bytesWritten)
      }
    } catch (error) {
      throw unwritable(this.#path, error, '; the part that has arrived is kept: free space, and download it again')
    }
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    try {
      return await readFull(this.#handle, into, offset)
    } catch (error) {
      throw unwritable(this.#path, error, '; the part that has arrived is kept: free space, and download it again')
    }
  }

  async commit(): Promise<void> {
    const { part, record } = partPaths(this.#path)
    try {
      if (this.#options.mode !== undefined) await this.#handle.chmod(this.#options.mode)
      await this.#handle.utimes(new Date(), new Date(this.#content.modifiedAt))
      await this.#handle.sync()
      await this.#checkPart(part)
      await this.#publish(part)
      await rm(record, { force: true })
      await flushDirectory(dirname(this.#path))
    } catch (error) {
      throw unwritable(this.#path, error, '; the part that has arrived is kept: free space, and download it again')
    }
  }

  async discard(): Promise<void> {
    await removePart(this.#path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }

  /** Another program that downloads to the same path may have replaced or renamed the partial file. */
  async #checkPart(part: string | Buffer): Promise<void> {
    const own = await this.#handle.stat(big)
    const there = await unlessMissing(lstat(part, big))
    if (there?.ino === own.ino && there.dev === own.dev) return
    throw new OspError('target-unwritable', `another program is writing to ${this.#path}`)
  }

  async #publish(part: string | Buffer): Promise<void> {
    const to = pathBytes(this.#path)
    if (this.#options.overwrite) return await rename(part, to)
    try {
      // Unlike a rename, a link never replaces a file.
      await link(part, to)
    } catch (error) {
      if (errnoOf(error) === 'EEXIST') throw new OspError('target-exists', `${this.#path} was created meanwhile`)
      if (!withoutLinks.has(errnoOf(error) ?? '')) throw error
      return await rename(part, to)
    }
    await unlink(part)
  }
}

/** The errors of file systems that have no hard links. */
const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'])

async function flushDirectory(path: string): Promise<void> {
  // Windows cannot flush a directory. Its file system keeps the order of such changes itself.
  if (process.platform === 'win32') return
  await using handle = await open(pathBytes(path))
  await handle.sync()
}

/** Returns `parts` without their first `bytes` bytes. */
function withoutStart(parts: Parts, bytes: number): Parts {
  let left = bytes
  return parts.flatMap((part) => {
    const skipped = Math.min(left, part.length)
    left -= skipped
    return skipped === part.length ? [] : part.subarray(skipped)
  })
}

/** Returns an error of the system as an OspError that names the path. `whenFull` ends the text if the disk is full. */
function unwritable(path: string, cause: unknown, whenFull = ''): OspError {
  if (cause instanceof OspError) return cause
  const { code } = systemErrorOf(cause) ?? {}
  const text = `${path} cannot be written: ${pathReason(cause)}`
  // File descriptors become available again when other files are closed.
  if (code === 'overloaded') return new OspError(code, text, { cause })
  return new OspError('target-unwritable', isFull(cause) ? `${text}${whenFull}` : text, { cause })
}
