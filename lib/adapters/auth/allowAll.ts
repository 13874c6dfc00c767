import type { Authenticator } from '../../ports/authenticator.ts'

/**
 * Takes every user at their word, from wherever they come. Who reaches the server reads every name's messages and can replace
 * every name's files: for networks on which everybody may do so.
 */
export function allowAll(): Authenticator {
  return {
    async authenticate({ user }) {
      return { user, unproven: true }
    },
    async knows() {
      return 'unlisted'
    },
  }
}
