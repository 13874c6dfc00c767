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
  /** What clients know it by, once it listens; none without TLS. */
  readonly fingerprint?: string | undefined
  /** Reads certificate and key again, with TLS. If they are not valid, logs that and keeps the previous ones. */
  reload(): void
}

type Wanted = Pick<ServeValues, 'host' | 'port' | 'data' | 'tls' | 'tls-cert' | 'tls-key' | 'tls-client-ca'>

/** Reads what the server shows, each time anew. */
type ReadIdentity = () => Promise<ServerIdentity>

/**
 * How the settings say that it listens. Throws UsageError for files that cannot be used, and for a certificate or a key alone.
 */
export async function daemonTransport(values: Wanted, log: (entry: LogEntry) => void): Promise<DaemonTransport> {
  const { host, port } = values
  const read = identityReader(values)
  if (!read) return { transport: tcp({ host, port }), isTls: false, reload() {} }
  const secure = new TlsDaemonTransport(tls({ host, port }), read, log)
  // What lies in the data directory is made there, which has to belong to this daemon first.
  if (!values.tls) await secure.load().catch(asUsage)
  return secure
}

function identityReader(values: Wanted): ReadIdentity | undefined {
  const { data, tls: auto, 'tls-client-ca': clientCa } = values
  const given = values['tls-cert'] !== undefined || values['tls-key'] !== undefined
  if (auto && given)
    throw new UsageError('--tls auto makes a certificate of its own; leave out --tls-cert and --tls-key')
  if (!auto && !given) {
    if (clientCa === undefined) return undefined
    throw new UsageError('--tls-client-ca needs TLS; give --tls auto as well, or --tls-cert and --tls-key')
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
  /** Signals that come together are heeded one after another. */
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
/** Time enough to get a new one. */
const warnedMs = 14 * dayMs

/** What to warn of, if a certificate in PEM has expired at this time, or does so soon. */
function expiryOf(cert: string | Uint8Array, nowMs: number): { expires: string; text: string } | undefined {
  const expiresMs = Date.parse(new X509Certificate(cert).validTo)
  const leftMs = expiresMs - nowMs
  if (!(leftMs <= warnedMs)) return undefined
  const advice = 'put a new one in its place, then send SIGHUP'
  const text =
    leftMs <= 0
      ? `the certificate has expired: clients that go by its authority refuse it; ${advice}`
      : `the certificate expires within ${Math.ceil(leftMs / dayMs)} days; ${advice}`
  return { expires: new Date(expiresMs).toISOString(), text }
}
