import type { OspError } from 'ospd'

/** What the exit codes of both programs mean; scripts depend on them (docs/cli.md). */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notLetIn: 4,
  later: 5,
  interrupted: 130,
} as const

/** The exit code of a program that one error has ended. */
export function exitCodeOf({ code, retry }: OspError): number {
  if (code === 'unauthorized') return exitCodes.notLetIn
  if (code === 'unreachable' || code === 'link-lost' || code === 'link-replaced' || code === 'timed-out')
    return exitCodes.unreachable
  return retry === 'never' ? exitCodes.failed : exitCodes.later
}
