import { connectionErrors, type OspError } from 'ospd'

/** The exit codes of both programs. Scripts depend on them (docs/cli.md). */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notLetIn: 4,
  later: 5,
  interrupted: 130,
} as const

/** Returns the exit code of a command that ends with this error. */
export function exitCodeOf({ code, retry }: OspError): number {
  if (code === 'unauthorized') return exitCodes.notLetIn
  if (connectionErrors.has(code) && code !== 'shutting-down') return exitCodes.unreachable
  return retry === 'never' ? exitCodes.failed : exitCodes.later
}
