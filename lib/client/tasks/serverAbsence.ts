import { type ErrorCode, OspError } from '../../errors.ts'

/** How long a program is waited for that has the list of tasks for a moment, and how often one looks. */
export const serverAbsence = { mostMs: 20_000, everyMs: 50 } as const

const codes: readonly ErrorCode[] = ['unreachable', 'shutting-down', 'link-lost']

/** Whether it says that nobody serves the tasks, or not for long. */
export function isAbsent(error: unknown): boolean {
  return error instanceof OspError && codes.includes(error.code)
}
