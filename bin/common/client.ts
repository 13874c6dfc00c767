import { type Client, type ConnectOptions, createClient, OspError, type Transport } from 'ospd'
import { knownServer, knownServers, type SeenServer, type TrustServer, tcp, tls } from 'ospd/node'
import { type CommonOptions, userOf } from './commonOptions.ts'
import { pemsOf, readPem } from './files.ts'
import { errorLine, statusPrinter } from './output.ts'
import { addressText } from './settings.ts'
import { platformState } from './stateDirectory.ts'
import { stylesFor } from './text.ts'
import type { TokenSource } from './token.ts'
import { UsageError } from './usage.ts'

/**
 * A client for a command; it connects when it is first used. Throws UsageError where its user can't be one, or its way to the
 * server.
 */
export function openClient(
  values: CommonOptions,
  token: TokenSource,
  more: Pick<ConnectOptions, 'state' | 'log' | 'uploadsAtOnce' | 'limitRate'> = {},
  to: Transport = clientTransport(values, trustFor(values, token)),
): Client {
  const { insecure, 'retry-for': retryForMs } = values
  return createClient({
    to: tokenWay(to, token),
    user: userOf(values),
    token: token.give,
    allowPlaintext: insecure,
    retryForMs,
    ...more,
  })
}

/** The transport of a client that logs in by `token`: it tells the source when the server can judge the token, and over what. */
function tokenWay(to: Transport, token: TokenSource): Transport {
  return {
    listen: (options) => to.listen(options),
    async dial(options, signal) {
      const socket = await to.dial(options, signal)
      const start = socket.start.bind(socket)
      // The client starts a socket only if the token may be sent over it.
      socket.start = (events) => {
        token.reached(socket)
        start(events)
      }
      return socket
    },
  }
}

type Way = Pick<CommonOptions, 'server' | 'tls' | 'tls-ca' | 'fingerprint' | 'tls-cert' | 'tls-key' | 'state'>

/** The way to the server, where `trust` goes on with it. Throws UsageError where it can't be gone. */
export function clientTransport(values: Way, trust: TrustServer): Transport {
  const { server } = values
  if (!values.tls) {
    const stray = (['tls-ca', 'fingerprint', 'tls-cert', 'tls-key'] as const).find((name) => values[name] !== undefined)
    if (stray) throw new UsageError(`--${stray} needs --tls; without it nothing is encrypted`)
    return tcp(server)
  }
  const caPath = values['tls-ca']
  const ca = caPath === undefined ? {} : { ca: readPem('--tls-ca', caPath) }
  try {
    return tls({ ...server, ...pemsOf(values), ...ca, trust })
  } catch (error) {
    if (error instanceof OspError && error.code === 'usage') throw new UsageError(`with --tls: ${error.message}`)
    throw error
  }
}

/** The file with a line for each server that was verified. */
export const knownServersPath = ({ state }: Pick<Way, 'state'>) => `${state ?? platformState()}/known_servers`

/**
 * Trusts a server by that file, or by an authority, and pins a new server: says so, unless `--fingerprint` names its key. With
 * `--tls-ca` only that authority is trusted. A new server that only its key is known of is sent no token unless
 * `--fingerprint` names that key.
 */
export function trustFor(values: Way, token?: Pick<TokenSource, 'isGiven'>): TrustServer {
  const { 'tls-ca': ca, fingerprint } = values
  const pinned = fingerprint === undefined ? { pinned: tellPinned } : {}
  const known = knownServers(knownServersPath(values), { ...pinned, pinsNobody: ca !== undefined })
  return async (server) => {
    if (fingerprint !== undefined && fingerprint !== server.fingerprint) throw another(server, fingerprint)
    if (fingerprint === undefined && token?.isGiven && (await isNewServer(values, server))) throw unknown(server)
    await known(server)
  }
}

/** Resolves with whether only the key of a server is known, and that since now. */
export async function isNewServer(values: Way, server: SeenServer): Promise<boolean> {
  if (server.verified || values['tls-ca'] !== undefined) return false
  try {
    return (await knownServer(knownServersPath(values), server)) === undefined
  } catch {
    // The list cannot be read; the trust check reports that.
    return false
  }
}

function tellPinned({ host, port, fingerprint }: SeenServer): void {
  const server = addressText({ host, port })
  const say = statusPrinter(errorLine, stylesFor(process.stderr))
  say(`${server} is known from now on by ${fingerprint}; compare that with what its daemon has printed`, 'yellow')
}

function unknown({ host, port, fingerprint }: SeenServer): OspError {
  return new OspError(
    'unauthorized',
    `the server at ${addressText({ host, port })} is not known yet, and no token was sent; if ${fingerprint} is what its ` +
      `daemon has printed, give --fingerprint ${fingerprint}`,
  )
}

function another({ host, port, fingerprint }: SeenServer, wanted: string): OspError {
  return new OspError(
    'unauthorized',
    `the server at ${addressText({ host, port })} shows the key ${fingerprint}, not ${wanted}; no token was sent`,
  )
}
