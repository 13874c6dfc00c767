import { OspError } from '../../errors.ts'
import type { Authenticator } from '../../ports/authenticator.ts'

/** Lets nobody in. */
export function denyAll(): Authenticator {
  return {
    async authenticate({ user }) {
      throw new OspError('unauthorized', `the server does not let ${user} in: nothing vouches for the name`)
    },
    async knows() {
      return false
    },
  }
}
