import { OspError } from '../errors.ts'
import type { Authenticator } from '../ports/authenticator.ts'
import { nobody } from './nobody.ts'

/**
 * Lets in who has proved to hold a certificate, under the name in it and no other; the transport checks who has signed it.
 * Others are decided on by `otherwise`; by default they don't come in. Messages can be addressed to every name, since nobody
 * knows which ones were given a certificate.
 */
export function certificateNames(otherwise: Authenticator = nobody()): Authenticator {
  return {
    async authenticate(credentials) {
      const { user, peer } = credentials
      if (peer.certificateName === undefined) return await otherwise.authenticate(credentials)
      if (peer.certificateName === user) return { user }
      throw new OspError('unauthorized', `the certificate is of ${peer.certificateName}, not of ${user}`)
    },
    async knows() {
      return true
    },
    ...(otherwise.watch && { watch: otherwise.watch.bind(otherwise) }),
  }
}
