import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Admitted, Authenticator, Credentials } from '../../ports/authenticator.ts'
import { denyAll } from './unverified.ts'

export interface CertificateNamesOptions {
  /** Whose names certificates can have, as `knows` tells; by default any. */
  readonly users?: Pick<Authenticator, 'knows'>
}

/**
 * Lets in who has proved to hold a certificate, under the name in it and no other; the transport checks who has signed it.
 * Others are decided on by `otherwise`; by default they don't come in. Messages can be addressed to the names that `users`
 * knows; without it to every name, since nobody knows which ones were given a certificate. A right ends with the authority
 * that has signed, or by `users`: `otherwise` has to tell who watches of those whom `users` knows no more.
 */
export function certificateNames(
  otherwise: Authenticator = denyAll(),
  options: CertificateNamesOptions = {},
): Authenticator {
  checkArgument('certificateNames', 'the argument', kinds.authenticator, otherwise)
  checkOptions('certificateNames', { users: optional(kinds.authenticator) }, options)
  const { users } = options
  return {
    async authenticate(credentials) {
      const { user, peer } = credentials
      if (peer.certificateName === undefined) return await without(credentials, otherwise)
      if (peer.certificateName !== user)
        throw new OspError('unauthorized', `the certificate is of ${peer.certificateName}, not of ${user}`)
      if (users && !(await users.knows(user)))
        throw new OspError('unauthorized', `${user} has a certificate, but is no user of this server`)
      return { user }
    },
    async knows(user) {
      return users ? await users.knows(user) : 'unlisted'
    },
    ...(otherwise.watch && { watch: otherwise.watch.bind(otherwise) }),
  }
}

/** Who is not let in otherwise, and has shown a certificate, learns why that does not count. */
async function without(credentials: Credentials, otherwise: Authenticator): Promise<Admitted> {
  try {
    return await otherwise.authenticate(credentials)
  } catch (error) {
    const { certificateFault: fault } = credentials.peer
    if (fault === undefined || !(error instanceof OspError) || error.code !== 'unauthorized') throw error
    throw new OspError('unauthorized', `${error.message}; the certificate does not count: ${fault}`, { cause: error })
  }
}
