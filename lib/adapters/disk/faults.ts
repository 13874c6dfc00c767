import { constants } from 'node:os'
import { type ErrorCode, errors, OspError } from '../../errors.ts'

interface SystemError {
  readonly code: ErrorCode
  /** The reason, as in "writing /data/x failed: REASON". */
  readonly text: string
}

const unusable = (text: string): SystemError => ({ code: 'storage-unusable', text })
const overloaded = (text: string): SystemError => ({ code: 'overloaded', text })
const failing = (text: string): SystemError => ({ code: 'internal', text })

/**
 * Maps errors of the operating system to codes for uploads, records and state. The code decides whether a retry can
 * help. An error that is not listed is `internal`, with the text of the system.
 */
export const systemErrors: Readonly<Record<string, SystemError>> = {
  ENOSPC: { code: 'disk-full', text: 'the disk is full' },
  EDQUOT: { code: 'quota-exceeded', text: 'the disk quota of the account of the process is used up' },
  EMLINK: { code: 'disk-full', text: 'the directory has reached the maximum number of entries of the file system' },
  EFBIG: { code: 'too-large', text: 'the file is larger than the file system or the limit of the process allows' },
  ENAMETOOLONG: { code: 'bad-name', text: 'the name is too long for the file system' },
  EILSEQ: { code: 'bad-name', text: 'the file system cannot hold this name' },
  EROFS: unusable('the file system is mounted read-only; mount it for writing'),
  EACCES: unusable('permission denied; run as the owner of the directory, or change its permissions'),
  EPERM: unusable('the system does not permit it; check for immutable files and the permissions of the process'),
  EXDEV: unusable('the directory is on another file system; mount one file system for both'),
  ENOTDIR: unusable('a part of the path is not a directory; rename or remove it'),
  EISDIR: unusable('a directory is in the place of the file; rename or remove it'),
  ELOOP: unusable('a symbolic link is in the place of the file, or links form a loop; remove it'),
  ENOTSUP: unusable('the file system does not support it; use another file system'),
  EOPNOTSUPP: unusable('the file system does not support it; use another file system'),
  ENOSYS: unusable('the file system does not support it; use another file system'),
  EMFILE: overloaded('the process has reached its limit of open files; raise it (ulimit -n)'),
  ENFILE: overloaded('the system has reached its limit of open files'),
  ENOMEM: overloaded('the system has too little memory'),
  EAGAIN: overloaded('the system is short of a resource'),
  EBUSY: failing('the file or directory is in use by the system'),
  ETXTBSY: failing('the file is being executed'),
  EIO: failing('the disk has an error; check the disk'),
  ENXIO: failing('the disk is gone; check the disk'),
  ENODEV: failing('the disk is gone; check the disk'),
  ESTALE: failing('the network file system no longer has this file'),
}

/** The sentence for a peer, by code. Other codes use the sentence of the code itself. */
const publicTexts: Partial<Record<ErrorCode, string>> = {
  'disk-full': errors['disk-full'].text,
  'quota-exceeded': 'the disk quota of the server is used up',
  'too-large': 'the file is larger than the disk of the server can hold as one file',
  'bad-name': 'the file system of the server cannot hold this name; choose another one',
  'storage-unusable': errors['storage-unusable'].text,
  overloaded: 'the server has too few file descriptors or too little memory left',
}

const noRoom: readonly ErrorCode[] = ['disk-full', 'quota-exceeded']
/** The text of LevelDB for a full disk, since its errors have no errno. */
const fullText = /no space left|quota exceeded/i

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))

/** Returns the errno of an error from `node:fs`, such as `ENOENT`, or one without a name in Node, such as `EDQUOT`. */
export function errnoOf(error: unknown): string | undefined {
  const { code, errno } = (error ?? {}) as NodeJS.ErrnoException
  if (errno === undefined || code === undefined || /^E[A-Z0-9]+$/u.test(code)) return code
  return errnoNames.get(-errno) ?? code
}

/** Returns the row of an error of the system, if the table has one. */
export function systemErrorOf(error: unknown): SystemError | undefined {
  const errno = errnoOf(error)
  return errno !== undefined && Object.hasOwn(systemErrors, errno) ? systemErrors[errno] : undefined
}

/** The reasons for a path that the user named, if `systemErrors` has none or advises about a data directory. */
const pathReasons: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist; check the path',
  ENOTDIR: 'a part of the path is not a directory; check the path',
  EISDIR: 'it is a directory; name a file',
  EACCES: 'permission denied; change its permissions, or run as its owner',
}

/** Returns the reason why a named path cannot be used, and what to do, as in "--config x cannot be read: REASON". */
export function pathReason(error: unknown): string {
  return pathReasons[errnoOf(error) ?? ''] ?? systemErrorOf(error)?.text ?? textOf(error)
}

/** Converts an error of the system by `systemErrors`. `doing` names the operation and the path, "writing /data/x". */
export function fault(error: unknown, doing: string): OspError {
  // If closing the file failed too (`await using`), the first error counts.
  const cause = (error as { suppressed?: unknown } | undefined)?.suppressed ?? error
  if (cause instanceof OspError) return cause
  const { code, text } = systemErrorOf(cause) ??
    (isFull(cause) ? systemErrors.ENOSPC : undefined) ?? { code: 'internal', text: textOf(cause) }
  const errno = errnoOf(cause)
  const named = systemErrorOf(cause) ? ` (${errno})` : ''
  const publicText = publicTexts[code]
  return new OspError(code, `${doing} failed: ${text}${named}`, publicText ? { cause, publicText } : { cause })
}

/** Returns whether the error says that the disk is full. Errors of classic-level say so only in their cause. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = systemErrorOf(error) ?? (error as Partial<OspError>)
  if (code !== undefined && noRoom.includes(code)) return true
  return fullText.test(error.message) || isFull(error.cause)
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message} (${textOf(error.cause)})` : error.message
}

/** Resolves as `work` does. Converts a rejection by `fault`. */
export async function attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw fault(error, doing)
  }
}

/** Like `attempt`, but resolves with `undefined` if the errno is one of `expected`. */
export async function unless<T>(expected: readonly string[], doing: string, work: () => Promise<T>) {
  return attempt(doing, async () => {
    try {
      return await work()
    } catch (error) {
      if (expected.includes(errnoOf(error) ?? '')) return undefined
      throw error
    }
  })
}
