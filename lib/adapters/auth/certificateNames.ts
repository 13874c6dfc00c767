import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Admitted, Authenticator, Credentials } from '../../ports/authenticator.ts'
import { denyAll } from './unverified.ts'

export interface CertificateNamesOptions {
  /** The users that certificates may name. By default certificates may name any user. */
  readonly users?: Pick<Authenticator, 'knows'>
}

/**
 * Returns an authenticator that accepts a client with a certificate under the name in the certificate and no other. The
 * transport checks its signature. `otherwise` decides on clients without a certificate; by default they are rejected.
 * Messages can be addressed to the names in `users`, or without `users` to every name, since the names in issued
 * certificates are unknown. A certificate is accepted until its authority is removed or its user is removed from `users`.
 * `otherwise` must report removed users to watchers.
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
      if (peer.certificateName === undefined) return await withoutCertificate(credentials, otherwise)
      if (peer.certificateName !== user)
        throw new OspError('unauthorized', `the certificate names ${peer.certificateName}, not ${user}`)
      if (users && !(await users.knows(user)))
        throw new OspError('unauthorized', `${user} has a certificate, but is not a user of this server`)
      return { user }
    },
    async knows(user) {
      return users ? await users.knows(user) : 'unlisted'
    },
    ...(otherwise.watch && { watch: otherwise.watch.bind(otherwise) }),
  }
}

/** Authenticates a client without a valid certificate. A rejection includes the fault of the certificate. */
async function withoutCertificate(credentials: Credentials, otherwise: Authenticator): Promise<Admitted> {
  try {
    return await otherwise.authenticate(credentials)
  } catch (error) {
    const { certificateFault: fault } = credentials.peer
    if (fault === undefined || !(error instanceof OspError) || error.code !== 'unauthorized') throw error
    throw new OspError('unauthorized', `${error.message}; the certificate is not valid: ${fault}`, { cause: error })
  }
}
