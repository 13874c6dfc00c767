import { connectionErrors, nearestName, OspError } from 'ospd'

/** The exit codes of both programs. Scripts depend on them (docs/cli.md). */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  unauthorized: 4,
  later: 5,
  unhandled: 6,
  interrupted: 130,
} as const

/** Returns the exit code of a command that ends with this error. */
export function exitCodeOf({ code, retry }: OspError): number {
  if (code === 'unauthorized') return exitCodes.unauthorized
  if (connectionErrors.has(code) && code !== 'shutting-down') return exitCodes.unreachable
  return retry === 'never' ? exitCodes.failed : exitCodes.later
}

/** A wrong call of a command. `message` names the wrong argument and what the command takes. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Throws a UsageError instead of an OspError about an invalid value, which the flag or argument `what` provided. */
export function asUsageError(what: string, error: unknown): never {
  const isUsage = error instanceof OspError && (error.code === 'usage' || error.code === 'bad-name')
  throw isUsage ? new UsageError(`${what}: ${error.message}`) : error
}

/** Returns an operand or a path for a message. An empty one is shown as a pair of quotes. */
export const displayed = (operand: string): string => (operand === '' ? '""' : operand)

/** Returns the error for an operand that `command` does not take. */
export function unexpectedOperand(command: string, operand: string): UsageError {
  return new UsageError(`${command} takes no operand ${displayed(operand)}`)
}

/** Returns the message for an unknown name. Suggests the most similar known name if the user probably meant it. */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known)
  return `unknown ${what} ${displayed(name)}${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}
