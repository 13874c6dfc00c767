import type { Socket as ByteStream } from 'node:net'
import { OspError } from '../../errors.ts'
import type { PeerAddress } from '../../ports/socket.ts'

/** Returns an IPv6 address without its zone: `fe80::1` for `fe80::1%eth0`. */
export const withoutZone = (address: string): string => address.replace(/%.*$/u, '')

/** Whether only this machine can be at the other end of an IP address: 127.0.0.0/8, ::1, ::ffff:127.0.0.0/104. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/i.test(withoutZone(address))
}

/** The other end of a stream. A peer that is gone already has no address any more. */
export function peerOf({ remoteAddress: host = '', remotePort: port = 0 }: ByteStream): PeerAddress {
  return { host, port, local: isLoopback(host) }
}

const noInterface = 'an address that begins with fe80 needs an interface of this machine, as fe80::1%eth0'

const connecting: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; start the server or check the port',
  ENOTFOUND: 'no machine of this name is known; check the name',
  EAI_AGAIN: 'the name could not be looked up; check the network connection',
  EHOSTUNREACH: 'the machine cannot be reached; check its address and the network connection',
  ENETUNREACH: 'its network cannot be reached; check the network connection',
  ETIMEDOUT: 'it does not answer; check its address and any firewall in between',
  ECONNRESET: 'it broke the connection off at once',
  EACCES: 'this user may not connect there; check the permissions',
  EINVAL: noInterface,
  ENOENT: 'there is no such socket; start the server or check the path',
}

const listening: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there already; stop it or choose another port',
  EACCES: 'this user may not listen there; choose a port from 1024 or run with more rights',
  EPERM: 'this user may not listen there; choose a port from 1024 or run with more rights',
  EADDRNOTAVAIL: 'this machine has no such address; choose one of its own',
  ENOTFOUND: 'no address is known for this name; check the name',
  EINVAL: noInterface,
  EMFILE: 'this process has too many files open; raise its limit of open files',
}

/** `host:port`, as people write it: an IPv6 address stands in brackets. */
export function placeOf(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Returns a host, or `host:port`, in normalized form. Only the zone of an IPv6 address is case-sensitive. */
export function hostKeyOf(host: string): string {
  return host.replace(/^[^%]+/u, (address) => address.toLowerCase())
}

/** OspError `unreachable` for a failed try to `listen` or `connect` at `place`: why, and what can be done. */
export function unreachable(what: 'listen' | 'connect', place: string, error: unknown): OspError {
  const begin = what === 'listen' ? `cannot listen at ${place}` : `cannot connect to ${place}`
  return new OspError('unreachable', `${begin}: ${reasonOf(error, what)}`, { cause: error })
}

/** Returns why an attempt to `listen` or `connect` failed, and what to do. */
export function reasonOf(error: unknown, what: 'listen' | 'connect' = 'connect'): string {
  const { code = '', message } = error as NodeJS.ErrnoException
  const reason = (what === 'listen' ? listening : connecting)[code] ?? message
  return `${reason}${code && ` (${code})`}`
}
