import { OspError } from '../../errors.ts'
import type { Authenticator } from '../../ports/authenticator.ts'

/**
 * Returns an authenticator that accepts every user name from every address without proof. Every client that can reach the
 * server can read the messages and replace the files of every user. Use it only on networks where this is acceptable.
 */
export function allowAll(): Authenticator {
  return { authenticate: async ({ user }) => ({ user, unproven: true }), knows: async () => 'unlisted' }
}

/** Returns an authenticator that accepts every user name without proof, but only from clients on this machine. */
export function loopbackOnly(): Authenticator {
  return {
    async authenticate({ user, peer }) {
      if (peer.local) return { user, unproven: true }
      const text = `without an authenticator the server accepts only clients on its own machine, not ${peer.host}`
      throw new OspError('unauthorized', text)
    },
    knows: async () => 'unlisted',
  }
}

/** Returns an authenticator that rejects every user. */
export function denyAll(): Authenticator {
  return {
    async authenticate({ user }) {
      throw new OspError('unauthorized', `the server rejects ${user}: the user has not authenticated`)
    },
    knows: async () => false,
  }
}
