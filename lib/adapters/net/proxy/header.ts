import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import { OspError } from '../../../errors.ts'

/* Reads the header of the PROXY protocol, versions 1 and 2, with which a balancer names the client of a connection. */

/** A header, and what it says about the connection. */
export interface ProxyHeader {
  /** The length of the header in bytes. */
  readonly length: number
  /** `local`: the balancer has opened the connection itself, for example for a health check. `proxy`: it forwards a client. */
  readonly command: 'local' | 'proxy'
  /** The address of the client; absent if the balancer does not know it, or if it is not an address of TCP over IP. */
  readonly source?: { readonly host: string; readonly port: number }
}

/** The maximum length of a header of version 1 with its line end, and the accepted length of one of version 2. */
const textBytes = 107
const binaryBytes = 4_096

const latin1 = (text: string) => Buffer.from(text, 'latin1')

const prefix = latin1('PROXY ')
const signature = latin1('\r\n\r\n\0\r\nQUIT\n')
/** The signature, the version and the command, the family and the protocol, and the length of the rest. */
const fixedBytes = 16

/** The length of the addresses of each family, by its number: unspecified, IPv4, IPv6, Unix. */
const addressBytes = [0, 12, 36, 216] as const

/**
 * Returns the header at the beginning of `bytes`, or `undefined` while it is incomplete. Throws OspError `malformed` at the first
 * byte that shows that there is no header.
 */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (startsLike(buffer, signature)) return buffer.length < fixedBytes ? undefined : binaryHeader(buffer)
  if (startsLike(buffer, prefix)) return textHeader(buffer)
  throw invalidHeader('the connection does not begin with one')
}

/** Returns whether `bytes` can be the beginning of something that starts with `start`. */
function startsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length)
  return bytes.compare(start, 0, length, 0, length) === 0
}

/** Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 6682` and a line end. */
function textHeader(bytes: Buffer): ProxyHeader | undefined {
  const end = bytes.subarray(0, textBytes).indexOf('\r\n')
  if (end < 0) {
    if (bytes.length < textBytes) return undefined
    throw invalidHeader(`it has no line end within ${textBytes} bytes`)
  }
  const [, family = '', ...rest] = bytes.toString('latin1', 0, end).split(' ')
  const length = end + 2
  // The receiver must ignore the rest of the line.
  if (family === 'UNKNOWN') return { length, command: 'proxy' }
  if (family !== 'TCP4' && family !== 'TCP6') throw invalidHeader('its protocol is not TCP4, TCP6 or UNKNOWN')
  const isAddress = family === 'TCP4' ? isIPv4 : isPlainIpv6
  const [host = '', destination = '', port = '', destinationPort = ''] = rest
  if (rest.length !== 4 || ![host, destination].every(isAddress) || ![port, destinationPort].every(isPort))
    throw invalidHeader('its addresses or ports are not valid')
  return { length, command: 'proxy', source: { host: family === 'TCP6' ? shortIpv6(host) : host, port: Number(port) } }
}

/** A zone would refer to an interface of the balancer. */
const isPlainIpv6 = (text: string) => isIPv6(text) && !text.includes('%')

const isPort = (text: string) => /^(?:0|[1-9]\d{0,4})$/u.test(text) && Number(text) <= 65_535

/** Returns an IPv6 address in the form in which Node reports addresses. */
const shortIpv6 = (address: string) => new SocketAddress({ address, family: 'ipv6' }).address

/** Version 2: fixed fields, addresses, and further fields, which are skipped. */
function binaryHeader(bytes: Buffer): ProxyHeader | undefined {
  const [version, command] = nibbles(bytes.readUInt8(12))
  const [family, protocol] = nibbles(bytes.readUInt8(13))
  if (version !== 2) throw invalidHeader(`its version is ${version}`)
  if (command > 1) throw invalidHeader(`its command is ${command}`)
  const length = fixedBytes + bytes.readUInt16BE(14)
  if (length > binaryBytes) throw invalidHeader(`it is longer than ${binaryBytes} bytes`)
  // The receiver must ignore everything else in such a header.
  if (command === 0) return bytes.length < length ? undefined : { length, command: 'local' }
  const needed = addressBytes[family]
  if (needed === undefined || protocol > 2) throw invalidHeader(`its family is ${family} and its protocol ${protocol}`)
  if (length < fixedBytes + needed) throw invalidHeader('it is too short for its addresses')
  if (bytes.length < length) return undefined
  // Only connections of TCP over IP have an address of the form that Node reports.
  if (protocol !== 1 || (family !== 1 && family !== 2)) return { length, command: 'proxy' }
  return { length, command: 'proxy', source: family === 1 ? ipv4Source(bytes) : ipv6Source(bytes) }
}

const nibbles = (byte: number) => [byte >> 4, byte & 0xf] as const

function ipv4Source(bytes: Buffer) {
  return { host: [...bytes.subarray(16, 20)].join('.'), port: bytes.readUInt16BE(24) }
}

function ipv6Source(bytes: Buffer) {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(16 + 2 * at).toString(16))
  return { host: shortIpv6(groups.join(':')), port: bytes.readUInt16BE(48) }
}

/** Returns the error for a connection without a valid header. */
export function invalidHeader(reason: string): OspError {
  return new OspError('malformed', `the PROXY header is missing or not valid: ${reason}`)
}
