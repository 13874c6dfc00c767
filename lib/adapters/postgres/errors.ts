import { type ErrorCode, OspError } from '../../errors.ts'
import { OutcomeUnknown } from '../cluster/steps.ts'

/** An error that the database has reported, with its SQLSTATE. */
interface ReportedError extends Error {
  readonly severity: string
  readonly code: string
}

/**
 * SQLSTATE codes, or their classes, after which the same step can be repeated: the connection ended (08, 57P), the transaction
 * was rolled back because of others (40, 55P03) or of a time limit (57014), or the server is a standby (25006) or has no free
 * connection slot (53300).
 */
const repeatable = /^(?:08|40|57P|57014|55P03|25006|53300)/u

/** The SQLSTATE codes with which the functions of the schema refuse a step, and the codes of their errors. */
const refusals: ReadonlyMap<string, ErrorCode> = new Map([
  ['OS001', 'link-lost'],
  ['OS002', 'link-replaced'],
  ['OS003', 'data-locked'],
  ['OS004', 'data-format'],
  ['OS005', 'file-busy'],
])

/** The SQLSTATE codes for a missing schema, table, function or other object. */
const missing = new Set(['3F000', '42P01', '42883', '42704'])

/**
 * Returns the error of a step: an OspError, or `OutcomeUnknown` if the connection ended before the answer, or the step can be
 * repeated for another reason.
 */
export function stepFailureOf(error: unknown): OspError | OutcomeUnknown {
  if (error instanceof OspError || error instanceof OutcomeUnknown) return error
  const text = error instanceof Error ? error.message : String(error)
  if (!isReported(error)) return new OutcomeUnknown(`no answer from the database: ${text}`, { cause: error })
  const refusal = refusals.get(error.code)
  if (refusal) return new OspError(refusal, text)
  if (repeatable.test(error.code)) return new OutcomeUnknown(`the database has refused: ${text}`, { cause: error })
  if (error.code === '53100')
    return new OspError('disk-full', `the disk of the database is full: ${text}`, { cause: error })
  if (missing.has(error.code)) {
    const advice = 'the database has no complete schema "ospd"; create or migrate it first'
    return new OspError('data-format', `${advice}: ${text}`, { cause: error })
  }
  return new OspError('internal', `the database reports: ${text} (SQLSTATE ${error.code})`, { cause: error })
}

/**
 * Returns the error of a connection, to report to an operator: no answer, a missing database, or a rejected login (SQLSTATE class
 * 28). Returns other errors as they are. `name` is the host, the port and the database.
 */
export function reachFailureOf(name: string, error: unknown): unknown {
  const { cause } = error instanceof Error ? error : {}
  // Node reports attempts at several addresses without a message.
  const reason = (cause instanceof Error && (cause.message || ('code' in cause && String(cause.code)))) || String(cause)
  if (isReported(cause) && cause.code.startsWith('28')) {
    return new OspError('unauthorized', `the database of the cluster at ${name} has rejected the login: ${reason}`, {
      cause,
    })
  }
  // There is no database of this name.
  if (isReported(cause) && cause.code === '3D000') {
    return new OspError('unreachable', `the database of the cluster at ${name} does not exist; create it first`, {
      cause,
    })
  }
  if (!(error instanceof OutcomeUnknown)) return error
  if (reason.startsWith('SASL: SCRAM-SERVER-FIRST-MESSAGE: client password')) {
    const text = `the database of the cluster at ${name} requires a password; add one to its URL`
    return new OspError('unauthorized', text, { cause })
  }
  return new OspError('unreachable', `the database of the cluster cannot be reached at ${name}: ${reason}`, { cause })
}

/** Returns whether the database has refused a step because of the locks of other transactions: a deadlock, or `lock_timeout`. */
export function isLockConflict(error: unknown): boolean {
  const { cause } = error instanceof OutcomeUnknown ? error : {}
  return isReported(cause) && (cause.code === '40P01' || cause.code === '55P03')
}

function isReported(error: unknown): error is ReportedError {
  return error instanceof Error && 'severity' in error && 'code' in error && typeof error.code === 'string'
}

/**
 * Returns whether the connection can be used again, because the database or the code between its statements has reported the
 * error. A connection to a standby is not used again, since a new one may reach the primary.
 */
export function isAnswer(error: unknown): boolean {
  return error instanceof OspError || (isReported(error) && error.severity === 'ERROR' && error.code !== '25006')
}
