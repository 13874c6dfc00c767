import { readFileSync } from 'node:fs'
import { UsageError } from './usage.ts'

/** A certificate and its key, as they lie in files. */
export interface Pems {
  readonly cert: string
  readonly key: string
}

/** What `--tls-cert` and `--tls-key` name, or `undefined` for neither. Throws UsageError for one alone, or what can't be read. */
export function pemsOf(values: {
  readonly 'tls-cert'?: string | undefined
  readonly 'tls-key'?: string | undefined
}): Pems | undefined {
  const { 'tls-cert': cert, 'tls-key': key } = values
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined) throw new UsageError('--tls-key needs --tls-cert, the certificate of the key')
  if (key === undefined) throw new UsageError('--tls-cert needs --tls-key, the key of the certificate')
  return { cert: readPem(cert, '--tls-cert'), key: readPem(key, '--tls-key') }
}

/** The content of a file that was given as `what`. Throws UsageError where it can't be read. */
export function readPem(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`${what} ${path} cannot be read: ${(error as Error).message}`)
  }
}
