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

/** Words that other programs use for the same action. A flag can be followed by its value. */
const synonyms: readonly (readonly string[])[] = [
  ['add', 'create'],
  ['cancel', 'abort'],
  ['continue', 'resume'],
  ['get', 'download', 'fetch', 'pull'],
  ['ls', 'list', 'dir'],
  ['msg', 'message', 'tell'],
  ['mv', 'move', 'rename'],
  ['rm', 'remove', 'delete', 'del'],
  ['send', 'upload', 'put', 'push'],
  ['serve', 'start', 'run'],
  ['use', 'select', 'switch'],
  ['--wait handled', '--receipt', '--receipts'],
]

const firstWord = (text: string) => text.split(' ')[0] ?? ''

/** Returns the known name that the user probably meant: a synonym, or the most similar one. */
export function meantName(name: string, known: readonly string[]): string | undefined {
  const group = synonyms.find((words) => words.some((word) => firstWord(word) === name.toLowerCase()))
  return group?.find((word) => known.includes(firstWord(word))) ?? nearestName(name, known)
}

/** Returns the message for an unknown name, with the known name that the user probably meant. */
export function unknownName(what: string, name: string, known: readonly string[]): string {
  const meant = meantName(name, known)
  return `unknown ${what} ${displayed(name)}${meant === undefined ? '' : `; did you mean ${meant}?`}`
}
