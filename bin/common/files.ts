import { createPrivateKey, X509Certificate } from 'node:crypto'
import { accessSync, constants, readFileSync, type Stats, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { checkNamedFile, pathReason } from 'ospd/node'
import { displayed, UsageError } from './usage.ts'

/** Returns the error for a path, given as `what`, that cannot be read. */
export function unreadable(what: string, path: string, error: unknown): UsageError {
  return new UsageError(`${what} ${displayed(path)} cannot be read: ${pathReason(error)}`)
}

/** Returns the text of a file that was given as `what`. Throws UsageError if it cannot be read or other users can change it. */
export function readText(what: string, path: string): string {
  try {
    checkNamedFile(path)
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw unreadable(what, path, error)
  }
}

/** Throws UsageError if the file that was given as `what` cannot be read. Does not open it, since it can be a pipe. */
export function checkReadable(what: string, path: string): void {
  try {
    if (statSync(path).isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' })
    accessSync(path, constants.R_OK)
  } catch (error) {
    throw unreadable(what, path, error)
  }
}

/** The requirement for a directory: it exists, it exists or can be created, or in addition is writable. */
type DirectoryUse = 'exists' | 'make' | 'make-and-write'

/** Throws UsageError if the directory that was given as `what` does not meet the requirement. Creates nothing. */
export function checkDirectory(what: string, path: string, use: DirectoryUse): void {
  const named = `${what} ${displayed(path)}`
  const full = resolve(path)
  try {
    const { at, stats } = existingPart(full)
    if (!stats.isDirectory()) {
      if (at === full) throw new UsageError(`${named} is a file, not a directory; specify a directory`)
      throw new UsageError(`${named} cannot be used: ${at} is a file, not a directory; specify another directory`)
    }
    if (at !== full && use === 'exists') {
      throw new UsageError(`${named} does not exist; specify the data directory of the daemon`)
    }
    if (use === 'make-and-write') accessSync(at, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`${named} cannot be used: ${pathReason(error)}`)
  }
}

/** Returns the longest part of a path that exists. */
function existingPart(path: string): { readonly at: string; readonly stats: Stats } {
  for (let at = path; ; at = dirname(at)) {
    try {
      return { at, stats: statSync(at) }
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      if (!['ENOENT', 'ENOTDIR'].includes(code) || dirname(at) === at) throw error
    }
  }
}

/** Returns the contents of `--tls-cert` and `--tls-key`, if given. Throws UsageError for only one, or an unfit file. */
export function pemsOf(values: Partial<Record<'tls-cert' | 'tls-key', string | undefined>>) {
  const { 'tls-cert': cert, 'tls-key': key } = values
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined) throw new UsageError('--tls-key requires --tls-cert, the certificate of the key')
  if (key === undefined) throw new UsageError('--tls-cert requires --tls-key, the key of the certificate')
  return { cert: readPem('--tls-cert', cert), key: readPem('--tls-key', key, 'private key') }
}

/** Returns the text of a PEM file that was given as `what`. Throws UsageError if it cannot be read or is of another kind. */
export function readPem(what: string, path: string, kind: 'certificate' | 'private key' = 'certificate'): string {
  const text = readText(what, path)
  try {
    if (kind === 'certificate') new X509Certificate(text)
    // The library rejects an encrypted key with a message of its own.
    else if (!text.includes('ENCRYPTED')) createPrivateKey(text)
  } catch {
    const begin = kind === 'certificate' ? 'CERTIFICATE' : 'PRIVATE KEY'
    throw new UsageError(`${what} ${path} is not a PEM ${kind}; specify a file with a complete "BEGIN ${begin}" block`)
  }
  return text
}
