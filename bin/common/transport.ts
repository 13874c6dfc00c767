import { OspError, type Transport } from 'ospd'
import { knownServers, type SeenServer, type TrustServer, tcp, tls } from 'ospd/node'
import type { Everywhere } from './everywhere.ts'
import { pemsOf, readPem } from './files.ts'
import { errorLine, sayer } from './output.ts'
import { placeText } from './settings.ts'
import { platformState } from './stateDirectory.ts'
import { stylesFor } from './style.ts'
import { UsageError } from './usage.ts'

type Way = Pick<Everywhere, 'server' | 'tls' | 'tls-ca' | 'tls-cert' | 'tls-key' | 'state'>

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

/** The file with a line for each server that was verified. */
export const knownServersPath = ({ state }: Pick<Way, 'state'>) => `${state ?? platformState()}/known_servers`

/**
 * Trusts a server by that file, or by an authority, and pins a new server: says so, unless the user has `confirmed` its key.
 * With `--tls-ca` only that authority is trusted.
 */
export function trustOf(values: Way, { confirmed = false } = {}): TrustServer {
  const { 'tls-ca': ca } = values
  const pinned = ({ host, port, fingerprint }: SeenServer) => {
    if (confirmed) return
    const server = placeText({ host, port })
    const say = sayer(errorLine, stylesFor(process.stderr))
    say(`${server} is known from now on by ${fingerprint}; compare that with what its daemon has printed`, 'yellow')
  }
  return knownServers(knownServersPath(values), { pinned, pinsNobody: ca !== undefined })
}
