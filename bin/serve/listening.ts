import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import type { Log, Transport } from 'ospd'
import { fingerprintOf, ownIdentity, type ServerIdentity, tcp, tls } from 'ospd/node'
import { pemsOf, readPem } from '../common/files.ts'
import { asUsageError, UsageError } from '../common/usage.ts'
import type { ServeValues } from './settings.ts'

/** The transport of a daemon. */
export interface DaemonTransport extends Transport {
  /** The fingerprint of the certificate, once the daemon listens. Without TLS there is none. */
  fingerprint?: string
  /** With TLS, reads the certificate and the key again. If they are not valid, logs that and keeps the previous ones. */
  reload(): void
}

/** Returns the configured transport. Rejects with UsageError if a file is missing or cannot be used. */
export async function daemonTransport(values: ServeValues, log: Log): Promise<DaemonTransport> {
  const { host, port, 'proxy-protocol': proxyProtocol = [] } = values
  const read = identityReader(values)
  if (!read) return { ...tcp({ host, port, proxyProtocol }), reload() {} }
  const { setSecureContext, listen, dial } = tls({ host, port, proxyProtocol })
  const load = async () => {
    const identity = await read()
    setSecureContext(identity)
    transport.fingerprint = fingerprintOf(identity.cert)
    const warning = expiryOf(identity.cert, Date.now())
    if (warning) log({ level: 'warn', event: 'tls-expiring', ...warning })
  }
  const reload = async () => {
    try {
      await load()
      log({ level: 'info', event: 'tls-reloaded', fingerprint: transport.fingerprint })
    } catch (error) {
      log({ level: 'error', event: 'tls-not-reloaded', text: (error as Error).message })
    }
  }
  let reloading = Promise.resolve()
  const transport: DaemonTransport = {
    dial,
    async listen(options) {
      if (transport.fingerprint === undefined) await load()
      return await listen(options)
    },
    reload() {
      reloading = reloading.then(reload)
    },
  }
  // The certificate of `--tls auto` is created in the data directory, which this daemon must lock first.
  if (!values.tls) await load().catch((error: unknown) => asUsageError('--tls-cert, --tls-key', error))
  return transport
}

/** Returns a function that reads the certificate and the key from their files, or `undefined` without TLS. */
function identityReader(values: ServeValues): (() => Promise<ServerIdentity>) | undefined {
  const { data, tls: auto, 'tls-client-ca': clientCa } = values
  const given = values['tls-cert'] !== undefined || values['tls-key'] !== undefined
  if (auto && given) throw new UsageError('--tls auto creates its own certificate; remove --tls-cert and --tls-key')
  if (!auto && !given) {
    if (clientCa === undefined) return undefined
    throw new UsageError('--tls-client-ca requires TLS; add --tls auto, or --tls-cert and --tls-key')
  }
  return async () => {
    const identity = pemsOf(values) ?? (await ownIdentity(join(data, 'tls')))
    return { ...identity, ...(clientCa !== undefined && { clientCa: readPem('--tls-client-ca', clientCa) }) }
  }
}

const dayMs = 86_400_000
/** The remaining validity at which the daemon begins to warn. */
const warnedMs = 14 * dayMs

function expiryOf(cert: string | Uint8Array, nowMs: number): { expires: string; text: string } | undefined {
  const expiresMs = Date.parse(new X509Certificate(cert).validTo)
  const leftMs = expiresMs - nowMs
  if (!(leftMs <= warnedMs)) return undefined
  const when =
    leftMs > 0
      ? `expires within ${Math.ceil(leftMs / dayMs)} days`
      : 'has expired: clients that check its authority reject it'
  return { expires: new Date(expiresMs).toISOString(), text: `the certificate ${when}; replace it, then send SIGHUP` }
}
