import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { OspError } from '../../errors.ts'
import type { Admitted, Credentials } from '../../ports/authenticator.ts'

/** Returns a new token: a prefix, which makes tokens recognizable, and 256 random bits. */
export const newToken = (): string => `osp_${randomBytes(32).toString('base64url')}`

/** Returns the hash of a token. A slow hash, which protects chosen passwords, would add nothing to 256 random bits. */
export const hashOf = (token: string) => createHash('sha256').update(token).digest()

/** Accepts a user whose token has this SHA-256 hash. Throws OspError `unauthorized` for another token, or if there is no hash. */
export function admit(hash: Uint8Array | undefined, { user, token }: Credentials): Admitted {
  // Compares in constant time, even if there is no hash.
  if (timingSafeEqual(hash ?? new Uint8Array(32), hashOf(token)) && hash) return { user }
  if (token !== '') throw new OspError('unauthorized', `the server does not accept this token for ${user}`)
  throw new OspError('unauthorized', `the server accepts ${user} only with a token; ask its operator for one`)
}
