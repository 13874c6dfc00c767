import { OspError, type Transport } from 'ospd'
import { knownServers, type SeenServer, type TrustServer, tcp, tls } from 'ospd/node'
import type { Everywhere } from './everywhere.ts'
import { pemsOf, readPem } from './files.ts'
import { errorLine, sayer } from './output.ts'
import { placeText } from './settings.ts'
import { platformState } from './stateDirectory.ts'
import { stylesFor } from './style.ts'
import { UsageError } from './usage.ts'

type Way = Pick<Everywhere, 'server' | 'tls' | 'tls-ca' | 'tls-cert' | 'tls-key' | 'state' | 'quiet'>

/** The way to the server, where `trust` goes on with it. Throws UsageError where it can't be gone. */
export function transportOf(values: Way, trust: TrustServer = trustOf(values)): Transport {
  const { server } = values
  if (!values.tls) {
    const stray = (['tls-ca', 'tls-cert', 'tls-key'] as const).find((name) => values[name] !== undefined)
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

/** The file with a line for each server that was pinned. */
export const knownServersPath = ({ state }: Pick<Way, 'state'>) => `${state ?? platformState()}/known_servers`

/**
 * Trusts who is known by that file, or vouched for, and pins who is new. Who names an authority wants nobody trusted whom it
 * does not vouch for.
 */
export function trustOf(values: Way): TrustServer {
  const { quiet, 'tls-ca': ca } = values
  const pinned = ({ host, port, fingerprint }: SeenServer) => {
    if (quiet) return
    const server = placeText({ host, port })
    const say = sayer(errorLine, stylesFor(process.stderr))
    say(`${server} is known from now on by ${fingerprint}; compare that with what its daemon has printed`, 'yellow')
  }
  return knownServers(knownServersPath(values), { pinned, pinsNobody: ca !== undefined })
}
