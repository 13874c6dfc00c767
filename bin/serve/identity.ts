import { BlockList, isIP } from 'node:net'
import { join } from 'node:path'
import type { Authenticator, LogEntry } from 'ospd'
import { allowAll, certificateNames, loopbackOnly, rememberNames, usersFile } from 'ospd/node'
import { UsageError } from '../common/usage.ts'
import { userChangeLogger } from './log.ts'

/** What decides who may come in. */
export interface Identity {
  readonly authenticator: Authenticator
  /** The data directory has a list of users, be it empty. */
  readonly hasUsers: boolean
}

/** How a server listens, and what it knows people by. */
export interface Exposure {
  readonly host: string
  readonly isTls: boolean
  /** Clients can prove who they are by a certificate. */
  readonly hasClientCa: boolean
  /** The data directory has a list of users, be it empty. */
  readonly hasUsers: boolean
  readonly insecure: boolean
}

/**
 * Who comes in: the users of the data directory, where it has a list of them, by their tokens or, where a CA for clients was
 * named, by a certificate of their name. Where there is no list, that is who has a certificate, where a CA was named, else
 * everybody on this machine, or with `insecure` everybody, until the first user is added. A list that was there once is
 * needed from then on. What becomes of it is logged. Without a list, the names that have come in are kept in `DATA/names`.
 */
export async function identityOf(
  data: string,
  exposure: Pick<Exposure, 'hasClientCa' | 'insecure'>,
  log: (entry: LogEntry) => void,
): Promise<Identity> {
  const { hasClientCa, insecure } = exposure
  const unlisted = insecure ? allowAll() : loopbackOnly()
  const users = usersFile(data, hasClientCa ? certificateNames() : unlisted, { noticed: userChangeLogger(log) })
  const hasUsers = await users.exists()
  const authenticator = hasClientCa ? certificateNames(users, { users }) : users
  return { hasUsers, authenticator: rememberNames(authenticator, join(data, 'names')) }
}

/**
 * What to warn of, if anything. Throws UsageError where other machines could come in under any name, or read tokens on the
 * way, and nobody has said that they may.
 */
export function checkExposure({ host, isTls, hasClientCa, hasUsers, insecure }: Exposure): string | undefined {
  if (isLoopbackOnly(host)) return undefined
  const isKnown = hasUsers || hasClientCa
  if (isKnown && isTls) return undefined
  if (insecure) {
    return isKnown
      ? `other machines reach ${host} without TLS: tokens and contents can be read and changed on the way`
      : `other machines reach ${host}, and everybody comes in under any name`
  }
  const wrong = [
    ...(isKnown ? [] : ['nobody is known who may come in']),
    ...(isTls ? [] : ['without TLS tokens could be read on the way']),
  ]
  const steps = [
    ...(isKnown ? [] : ['add users by "ospd user add NAME" with the same --data first']),
    ...(isTls ? [] : ['give --tls auto']),
  ]
  const without = isKnown ? 'does without' : 'lets everybody in under any name'
  throw new UsageError(
    `other machines reach ${host}, and ${wrong.join(', and ')}: ${steps.join(' and ')}, or listen at 127.0.0.1 ` +
      `(--insecure ${without})`,
  )
}

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** A name other than localhost could lead anywhere, tomorrow if not today. */
function isLoopbackOnly(host: string): boolean {
  const version = isIP(host)
  if (version === 0) return host.toLowerCase() === 'localhost'
  // A BlockList does not support zones.
  return loopback.check(host.replace(/%.*$/u, ''), version === 4 ? 'ipv4' : 'ipv6')
}
