import { userInfo } from 'node:os'
import { checkUserName, OspError } from 'ospd'
import type { Everywhere } from './everywhere.ts'
import { UsageError } from './usage.ts'

/** Who runs the command. Throws UsageError where that is unknown, or nobody's name. */
export function userOf(values: Pick<Everywhere, 'user'>): string {
  const user = values.user ?? systemUser()
  if (user === undefined) throw new UsageError('the system knows no name for this user; give --user')
  return userNamed(user, '--user')
}

/** A name of a user that was given as `what`. Throws UsageError where it can't be one. */
export function userNamed(name: string, what: string): string {
  try {
    // What is typed on a keyboard is not always in the one form that names have.
    return checkUserName(name.normalize('NFC'))
  } catch (error) {
    if (error instanceof OspError && error.code === 'bad-name') throw new UsageError(`${what}: ${error.message}`)
    throw error
  }
}

/** The name of this process's user, or `undefined` where the system knows none. */
function systemUser(): string | undefined {
  try {
    return userInfo().username
  } catch {
    // A container's user can be a number without a name.
    return process.env.USER || process.env.LOGNAME
  }
}
