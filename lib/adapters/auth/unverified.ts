import { OspError } from '../../errors.ts'
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

/** Takes every user at their word, and lets in only who is on this machine. */
export function loopbackOnly(): Authenticator {
  return {
    async authenticate({ user, peer }) {
      if (peer.local) return { user, unproven: true }
      throw new OspError('unauthorized', `without an authenticator only this machine is let in, not ${peer.host}`)
    },
    async knows() {
      return 'unlisted'
    },
  }
}

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
