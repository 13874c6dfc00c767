import { BlockList, isIP } from 'node:net'
import { join } from 'node:path'
import { type Authenticator, OspError } from 'ospd'
import { allowAll, certificateNames, loopbackOnly, rememberNames } from 'ospd/node'
import { UsageError } from '../common/usage.ts'

/** How the daemon listens and authenticates. */
export interface Exposure {
  readonly host: string
  /** Whether load balancers forward connections from other machines. */
  readonly isProxied: boolean
  readonly isTls: boolean
  readonly hasClientCa: boolean
  /** Whether there is a list of users, even an empty one. */
  readonly hasUsers: boolean
  readonly allowPlaintext: boolean
}

/**
 * Returns the authenticator for the time before the first user is added: it accepts every client with a certificate if there is a
 * CA, otherwise every client on this machine, or with `allowPlaintext` every client.
 */
export function withoutUsers({
  hasClientCa,
  allowPlaintext,
}: Pick<Exposure, 'hasClientCa' | 'allowPlaintext'>): Authenticator {
  if (hasClientCa) return certificateRequired
  return allowPlaintext ? allowAll() : loopbackOnly()
}

/**
 * Returns the authenticator of a daemon. It accepts `users`, by their tokens or, with a CA for clients, by a certificate for their
 * name. If there is no list of users, the names of users that have logged in are stored in `DATA/names`.
 */
export function identityOf(users: Authenticator, { hasClientCa }: Pick<Exposure, 'hasClientCa'>, data: string) {
  const authenticator = hasClientCa ? certificateNames(users, { users }) : users
  return rememberNames(authenticator, join(data, 'names'))
}

/** Rejects clients without a certificate. A certificate can name any user. */
const certificateRequired: Authenticator = {
  async authenticate({ user }) {
    throw new OspError('unauthorized', `the server accepts ${user} only with a certificate`)
  },
  async knows() {
    return 'unlisted'
  },
}

/**
 * Returns a warning, if any. Throws UsageError if other machines could read tokens or log in without one, unless `allowPlaintext`
 * is set.
 */
export function checkExposure(exposure: Exposure): string | undefined {
  const { host, isProxied, isTls, hasClientCa, hasUsers, allowPlaintext } = exposure
  const isKnown = hasUsers || hasClientCa
  const isLoopback = isLoopbackOnly(host)
  if ((isLoopback && !isProxied) || (isKnown && isTls)) return undefined
  const place = isLoopback ? `${host} through the load balancers of --proxy-protocol` : host
  if (allowPlaintext) {
    return isKnown
      ? `other machines can reach ${place} without TLS: tokens and contents can be read and changed in transit`
      : `other machines can reach ${place} and log in under any name`
  }
  const faults = [
    !isKnown && ['no user could log in', 'add users with "ospd user add NAME" and the same --data first'],
    !isTls && ['without TLS tokens could be read in transit', 'specify --tls auto'],
  ].filter((fault) => fault !== false)
  const wrong = faults.map(([what]) => what).join(', and ')
  const steps = faults.map(([, step]) => step).join(' and ')
  const otherwise = isLoopback ? 'remove --proxy-protocol' : 'listen on 127.0.0.1'
  const without = isKnown ? 'permits this' : 'permits every login under any name'
  throw new UsageError(
    `other machines can reach ${place}, and ${wrong}: ${steps}, or ${otherwise} (--allow-plaintext ${without})`,
  )
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** A name other than localhost can resolve to any address, at any time. */
function isLoopbackOnly(host: string): boolean {
  const version = isIP(host)
  if (version === 0) return host.toLowerCase() === 'localhost'
  // A BlockList does not support zones.
  return loopback.check(host.replace(/%.*$/u, ''), version === 4 ? 'ipv4' : 'ipv6')
}
