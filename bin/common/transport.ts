import { OspError, type Transport } from 'ospd'
import { knownServers, type SeenServer, tcp, tls } from 'ospd/node'
import type { Everywhere } from './everywhere.ts'
import { errorLine, type Say, sayer } from './output.ts'
import { pemsOf, readPem } from './pems.ts'
import { placeText } from './settings.ts'
import { platformState } from './stateDirectory.ts'
import { stylesFor } from './style.ts'
import { UsageError } from './usage.ts'

type Way = Pick<Everywhere, 'server' | 'tls' | 'tls-ca' | 'tls-cert' | 'tls-key' | 'state' | 'quiet'>

/** The way to the server. Throws UsageError where it can't be gone. */
export function transportOf(values: Way, say: Say = sayer(errorLine, stylesFor(process.stderr))): Transport {
  const { server } = values
  if (!values.tls) {
    const stray = (['tls-ca', 'tls-cert', 'tls-key'] as const).find((name) => values[name] !== undefined)
    if (stray) throw new UsageError(`--${stray} needs --tls; without it nothing is encrypted`)
    return tcp(server)
  }
  const caPath = values['tls-ca']
  const ca = caPath === undefined ? {} : { ca: readPem(caPath, '--tls-ca') }
  try {
    return tls({ ...server, ...pemsOf(values), ...ca, trust: trustOf(values, say) })
  } catch (error) {
    if (error instanceof OspError && error.code === 'usage') throw new UsageError(`with --tls: ${error.message}`)
    throw error
  }
}

/** Who names an authority wants nobody trusted whom it does not vouch for. */
function trustOf({ state, quiet, 'tls-ca': ca }: Way, say: Say) {
  const path = `${state ?? platformState()}/known_servers`
  const pinned = ({ host, port, fingerprint }: SeenServer) => {
    if (quiet) return
    const server = placeText({ host, port })
    say(`${server} is known from now on by ${fingerprint}; compare that with what its daemon has printed`, 'yellow')
  }
  return knownServers(path, { pinned, pinsNobody: ca !== undefined })
}
