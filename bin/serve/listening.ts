import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { type Listener, type LogEntry, OspError, type SocketOptions, type Transport } from 'ospd'
import { fingerprintOf, ownIdentity, type ServerIdentity, type TlsTransport, tcp, tls } from 'ospd/node'
import { pemsOf, readPem } from '../common/files.ts'
import { UsageError } from '../common/usage.ts'
import type { ServeValues } from './settings.ts'

/** How a daemon listens. */
export interface DaemonTransport {
  readonly transport: Transport
  readonly isTls: boolean
  /** The fingerprint of the certificate, once the daemon listens. Without TLS there is none. */
  readonly fingerprint?: string | undefined
  /** With TLS, reads the certificate and the key again. If they are not valid, logs that and keeps the previous ones. */
  reload(): void
}

type Wanted = Pick<ServeValues, 'host' | 'port' | 'data' | 'tls' | 'tls-cert' | 'tls-key' | 'tls-client-ca'>

/** Reads the certificate and the key from their files. */
type ReadIdentity = () => Promise<ServerIdentity>

/**
 * Returns the configured transport. Rejects with UsageError if a file cannot be used, or if only a certificate or only a key
 * is given.
 */
export async function daemonTransport(values: Wanted, log: (entry: LogEntry) => void): Promise<DaemonTransport> {
  const { host, port } = values
  const read = identityReader(values)
  if (!read) return { transport: tcp({ host, port }), isTls: false, reload() {} }
  const secure = new TlsDaemonTransport(tls({ host, port }), read, log)
  // The certificate of `--tls auto` is created in the data directory, which this daemon must lock first.
  if (!values.tls) await secure.load().catch(asUsage)
  return secure
}

function identityReader(values: Wanted): ReadIdentity | undefined {
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

class TlsDaemonTransport implements DaemonTransport {
  readonly transport: Transport
  readonly isTls = true
  fingerprint: string | undefined
  readonly #tls: TlsTransport
  readonly #read: ReadIdentity
  readonly #log: (entry: LogEntry) => void
  /** Reloads run one after another. */
  #reloading: Promise<void> = Promise.resolve()

  constructor(transport: TlsTransport, read: ReadIdentity, log: (entry: LogEntry) => void) {
    this.#tls = transport
    this.#read = read
    this.#log = log
    this.transport = {
      listen: (options) => this.#listen(options),
      dial: (options, signal) => transport.dial(options, signal),
    }
  }

  async load(): Promise<void> {
    const identity = await this.#read()
    this.#tls.setSecureContext(identity)
    this.fingerprint = fingerprintOf(identity.cert)
    const warning = expiryOf(identity.cert, Date.now())
    if (warning) this.#log({ level: 'warn', event: 'tls-expiring', ...warning })
  }

  reload(): void {
    this.#reloading = this.#reloading.then(async () => {
      try {
        await this.load()
        this.#log({ level: 'info', event: 'tls-reloaded', fingerprint: this.fingerprint })
      } catch (error) {
        const { message: text } = error as Error
        this.#log({ level: 'error', event: 'tls-not-reloaded', text })
      }
    })
  }

  async #listen(options: SocketOptions): Promise<Listener> {
    if (this.fingerprint === undefined) await this.load()
    return await this.#tls.listen(options)
  }
}

function asUsage(error: unknown): never {
  if (error instanceof OspError && error.code === 'usage')
    throw new UsageError(`--tls-cert, --tls-key: ${error.message}`)
  throw error
}

const dayMs = 86_400_000
/** The remaining validity at which the daemon begins to warn. */
const warnedMs = 14 * dayMs

/** Returns a warning if a certificate in PEM has expired at this time or expires soon. */
function expiryOf(cert: string | Uint8Array, nowMs: number): { expires: string; text: string } | undefined {
  const expiresMs = Date.parse(new X509Certificate(cert).validTo)
  const leftMs = expiresMs - nowMs
  if (!(leftMs <= warnedMs)) return undefined
  const advice = 'replace it, then send SIGHUP'
  const text =
    leftMs <= 0
      ? `the certificate has expired: clients that check its authority reject it; ${advice}`
      : `the certificate expires within ${Math.ceil(leftMs / dayMs)} days; ${advice}`
  return { expires: new Date(expiresMs).toISOString(), text }
}
