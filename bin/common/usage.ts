import { connectionErrors, OspError } from 'ospd'

/** The exit codes of both programs. Scripts depend on them (docs/cli.md). */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  unauthorized: 4,
  later: 5,
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
  const [nearest] = known
    .map((candidate) => ({ candidate, changes: changesBetween(bare(name), bare(candidate)) }))
    .filter(({ candidate, changes }) => changes <= Math.floor(Math.max(bare(name).length, bare(candidate).length) / 3))
    .sort((a, b) => a.changes - b.changes)
  return `unknown ${what} ${displayed(name)}${nearest ? `; did you mean ${nearest.candidate}?` : ''}`
}

const bare = (name: string) => name.replace(/^-+/u, '').toLowerCase()

/** Returns the optimal string alignment distance. A missing end costs little, since flags are often abbreviated. */
function changesBetween(from: string, to: string): number {
  if (from.length > 1 && to.startsWith(from)) return (to.length - from.length) / 100
  // Row i contains the distances between the first i letters of `from` and every beginning of `to`.
  const rows = [Array.from({ length: to.length + 1 }, (_, index) => index)]
  const distance = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= to.length; j++) {
      const isSwapped = from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      const kept = distance(i - 1, j - 1) + (from[i - 1] === to[j - 1] ? 0 : 1)
      const swapped = isSwapped ? distance(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY
      row.push(Math.min(kept, swapped, distance(i - 1, j) + 1, distance(i, j - 1) + 1))
    }
  }
  return distance(from.length, to.length)
}
