import { OspError } from '../../errors.ts'
import { having, type Kind, kinds, optional, shown } from '../../options.ts'
import type { Transport } from '../../ports/socket.ts'
import type { ServerIdentity } from './tls/identity.ts'

/** The default port of a server. */
export const serverPort = 6682

const mostPort = 65_535

/**
 * Returns the host, without brackets, and the port of `HOST:PORT`, `HOST` or `[IPv6 address]:PORT`. An IPv6 address can have a zone:
 * `[fe80::1%eth0]:6682`. Returns `undefined` for any other text.
 */
export function parseAddress(text: string): { readonly host: string; readonly port: number | undefined } | undefined {
  const [, bracketed, plain, digits] =
    /^(?:\[([\da-f:.]+(?:%[^\s%/[\]]+)?)\]|([^\s:/[\]]+))(?::(\d{1,5}))?$/iu.exec(text) ?? []
  const host = bracketed ?? plain
  const port = digits === undefined ? undefined : Number(digits)
  return host === undefined || (port ?? 0) > mostPort ? undefined : { host, port }
}

/** Describes why a text is not the address of a server. Returns `undefined` if there is no more specific reason than its form. */
export function addressFault(text: string): string | undefined {
  const [scheme] = /^[a-z][a-z\d+.-]*:\/\//iu.exec(text) ?? []
  if (scheme?.toLowerCase() === 'ospds://') return `remove ${scheme} and specify TLS`
  if (scheme !== undefined) return `remove ${scheme}`
  if (text.includes('/')) return 'it contains a path; remove the path'
  const [, host, port] = /^(\[.*\]|[^:]*):([^:\]]*)$/u.exec(text) ?? []
  if (port === undefined) {
    const isBareIpv6 = /:.*:/u.test(text) && !text.includes('[')
    return isBareIpv6 ? `an IPv6 address must be in brackets, such as [::1]:${serverPort}` : undefined
  }
  if (host === '') return 'the host is missing'
  if (port === '') return 'the port is missing after the colon'
  if (!/^\d+$/u.test(port)) return `the port ${port} is not a number`
  if (Number(port) > mostPort) return `the port ${port} is above ${mostPort}`
  return Number(port) === 0 ? 'a server cannot have port 0' : undefined
}

const isUrl = (value: unknown): value is string | URL => typeof value === 'string' || value instanceof URL

/** The kind of the values that `dialTransport` takes. */
export const serverKind: Kind = {
  takes: `a URL such as 'ospd://host:${serverPort}', or a transport, such as tcp({ port })`,
  holds: (value) => isUrl(value) || having('', 'dial').holds(value),
  advice: (value) => (kinds.port.holds(value) ? `write 'ospd://localhost:${value}'` : undefined),
}

/** The kind of the values that `listenTransport` takes. */
export const listenKind: Kind = {
  takes: `a port, a URL such as 'ospd://0.0.0.0:${serverPort}', or a transport, such as tcp({ port })`,
  holds: (value) => isUrl(value) || kinds.port.holds(value) || having('', 'listen').holds(value),
}

/** Returns the transport to a server: over TLS for `ospds://`. Throws OspError `usage`, which names the function `where`. */
export function dialTransport(where: string, to: string | URL | Transport): Transport {
  if (!isUrl(to)) return to
  const { isTls, host, port = serverPort } = parseUrl(where, to)
  if (port === 0) throw notUrl(where, to, 'a server cannot have port 0')
  const load = async () =>
    isTls ? (await import('./tls.ts')).tls({ host, port }) : (await import('./tcp.ts')).tcp({ host, port })
  return loadedWhenUsed(load)
}

/** The kind of the option `tls` of `serve`. */
export const tlsKind: Kind = optional({
  takes: "'auto', or an object such as { cert, key }",
  holds: (value) =>
    value === 'auto' || (kinds.object.holds(value) && 'cert' in Object(value) && 'key' in Object(value)),
})

/**
 * Returns the transport of a server that listens at a port on the loopback interface, or at a URL. Uses TLS if `identity` is given,
 * which resolves with the certificate and the key. Throws as `dialTransport`.
 */
export function listenTransport(
  where: string,
  at: number | string | URL | Transport,
  identity?: () => Promise<ServerIdentity>,
): Transport {
  if (typeof at !== 'number' && !isUrl(at)) {
    if (identity) throw new OspError('usage', `${where}: the option tls requires a port or a URL, not a transport`)
    return at
  }
  const {
    isTls,
    host,
    port = serverPort,
  } = typeof at === 'number' ? { isTls: identity !== undefined, host: '127.0.0.1', port: at } : parseUrl(where, at)
  if (isTls && !identity)
    throw notUrl(where, String(at), "a TLS server requires the option tls, such as { cert, key } or 'auto'")
  if (!isTls && identity) throw notUrl(where, String(at), 'with the option tls it must begin with ospds://')
  return loadedWhenUsed(async () =>
    identity
      ? (await import('./tls.ts')).tls({ host, port, ...(await identity()) })
      : (await import('./tcp.ts')).tcp({ host, port }),
  )
}

/** Loads TCP and TLS on first use: a bundled client does not load them at startup. */
function loadedWhenUsed(load: () => Promise<Transport>): Transport {
  return {
    listen: async (options) => (await load()).listen(options),
    dial: async (options, signal) => (await load()).dial(options, signal),
  }
}

function parseUrl(where: string, url: string | URL) {
  const [, scheme, rest = ''] = /^([a-z][a-z\d+.-]*):\/\/(.*)$/isu.exec(String(url)) ?? []
  const fault = urlFault(String(url), scheme?.toLowerCase(), rest)
  const address = parseAddress(rest.replace(/\/$/u, ''))
  if (fault === undefined && address) return { ...address, isTls: scheme?.toLowerCase() === 'ospds' }
  throw notUrl(where, url, fault ?? `write ospd://HOST:PORT, with an IPv6 address in brackets`)
}

function urlFault(url: string, scheme: string | undefined, rest: string): string | undefined {
  if (scheme === undefined) {
    return parseAddress(url)
      ? `write ospd://${url}, or ospds://${url} for TLS`
      : 'it must begin with ospd:// or ospds://'
  }
  if (scheme !== 'ospd' && scheme !== 'ospds') return 'its scheme must be ospd, or ospds for TLS'
  if (rest.includes('@')) return 'it contains a user name or a password; pass the options user and token'
  const [more] = /[/?#](?:.+|(?<!\/))$/su.exec(rest) ?? []
  if (more !== undefined) return `remove ${more} after the host and the port`
  const address = rest.replace(/\/$/u, '')
  return address === '' ? 'the host is missing' : parseAddress(address) ? undefined : addressFault(address)
}

/** The error omits a URL that may contain a password. */
function notUrl(where: string, url: string | URL, fault: string): OspError {
  const text = String(url)
  return new OspError('usage', `${where}: ${text.includes('@') ? 'the URL' : shown(text)} is not valid: ${fault}`)
}
