import type { Socket as ByteStream } from 'node:net'
import { OspError } from '../../errors.ts'
import type { PeerAddress } from '../../ports/socket.ts'
import { systemErrorOf } from '../disk/faults.ts'

/** Returns an IPv6 address without its zone: `fe80::1` for `fe80::1%eth0`. */
export const withoutZone = (address: string): string => address.replace(/%.*$/u, '')

/** Returns whether an IP address is a loopback address: 127.0.0.0/8, ::1, ::ffff:127.0.0.0/104. */
export function isLoopback(address: string): boolean {
  return /^(::ffff:)?127\.|^::1$/i.test(withoutZone(address))
}

/** Returns the address of the peer of a stream. The address of a peer that has already disconnected is empty. */
export function peerOf({ remoteAddress: host = '', remotePort: port = 0 }: ByteStream): PeerAddress {
  return { host, port, local: isLoopback(host) }
}

const noInterface = 'a link-local address (fe80::) requires an interface of this machine, such as fe80::1%eth0'

const connecting: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; start the server or check the port',
  ENOTFOUND: 'the host name is unknown; check the name',
  EAI_AGAIN: 'the host name cannot be resolved at the moment; check the network connection',
  EHOSTUNREACH: 'the machine cannot be reached; check its address and the network connection',
  ENETUNREACH: 'the network cannot be reached; check the network connection',
  ETIMEDOUT: 'the machine does not answer; check its address and any firewall in between',
  ECONNRESET: 'the connection was reset immediately',
  EACCES: 'permission denied; check the permissions',
  EINVAL: noInterface,
  ENOENT: 'there is no such socket; start the server or check the path',
}

const listening: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program already listens there; stop it or choose another port',
  EACCES: 'permission denied; choose a port from 1024, or run with more privileges',
  EPERM: 'permission denied; choose a port from 1024, or run with more privileges',
  EADDRNOTAVAIL: 'this machine does not have the address; choose one of its own addresses',
  ENOTFOUND: 'the host name has no address; check the name',
  EINVAL: noInterface,
}

/** Returns `host:port`, with an IPv6 address in brackets. */
export function placeOf(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Returns a host, or `host:port`, in normalized form. Only the zone of an IPv6 address is case-sensitive. */
export function hostKeyOf(host: string): string {
  return host.replace(/^[^%]+/u, (address) => address.toLowerCase())
}

/** Returns OspError `unreachable` for a failed attempt to `listen` or `connect` at `place`. */
export function unreachable(what: 'listen' | 'connect', place: string, error: unknown): OspError {
  const action = what === 'listen' ? 'cannot listen on' : 'cannot connect to'
  const reason = reasonOf(error, what)
  return new OspError('unreachable', `${action} ${place}: ${reason}`, { reason, cause: error })
}

/** Returns why an attempt to `listen` or `connect` failed, and what to do. */
export function reasonOf(error: unknown, what: 'listen' | 'connect' = 'connect'): string {
  const { code = '', message } = error as NodeJS.ErrnoException
  const reason = (what === 'listen' ? listening : connecting)[code] ?? systemErrorOf(error)?.text ?? message
  return `${reason}${code && ` (${code})`}`
}
