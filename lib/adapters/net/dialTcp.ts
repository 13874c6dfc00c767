import { ADDRCONFIG } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { type Socket as ByteStream, connect, isIP } from 'node:net'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { onAbort, unlessAborted } from '../../runtime/wait.ts'
import { placeOf, reasonOf, unreachable } from './addresses.ts'

/** The options of a TCP connection. */
export interface DialOptions {
  readonly host: string
  readonly port: number
  readonly clock: Clock
  readonly signal: AbortSignal
}

/** The network functions that dialling uses. */
export interface Network {
  /** Looks up the addresses of a host name, the preferred one first. */
  lookup(host: string): Promise<readonly string[]>
  connect(address: string, port: number): ByteStream
}

const nodeNetwork: Network = {
  async lookup(host) {
    const found = await lookup(host, { all: true, verbatim: true, hints: ADDRCONFIG })
    return found.map(({ address }) => address)
  },
  connect: (host, port) => connect({ host, port, noDelay: true, autoSelectFamily: false }),
}

/**
 * Connects to the addresses of a host in turn, as RFC 8305 describes. The next attempt starts when the previous one
 * fails or after `clientLimits.attemptDelayMs`, and does not end any other attempt. Calls `use` with the first stream
 * that connects, in the same turn, so that no event of the stream is missed, and abandons the other attempts. Resolves
 * with the result of `use`. Rejects with OspError `unreachable` when all attempts have failed, or `closed` when
 * `signal` aborts.
 */
export async function dialTcp<T>(
  options: DialOptions,
  use: (stream: ByteStream) => T,
  network: Network = nodeNetwork,
): Promise<T> {
  const { host, port, signal } = options
  const place = placeOf(host, port)
  const lookedUp = isIP(host) ? Promise.resolve([host]) : network.lookup(host)
  const addresses = await unlessAborted(lookedUp, signal, abortText(place)).catch((error: unknown) => {
    throw error instanceof OspError ? error : unreachable('connect', place, error)
  })
  return await new Promise((resolve, reject) => {
    const connected = (stream: ByteStream) => resolve(use(stream))
    new Race({ ...options, addresses: inTurn(addresses), network, connected, failed: reject }).start()
  })
}

interface RaceOptions extends DialOptions {
  readonly addresses: readonly string[]
  readonly network: Network
  readonly connected: (stream: ByteStream) => void
  readonly failed: (error: OspError) => void
}

interface Attempt {
  readonly address: string
  error?: Error
}

/** Connects to several addresses and uses the first connection that succeeds. */
class Race {
  readonly #options: RaceOptions
  readonly #running = new Set<ByteStream>()
  readonly #attempts: Attempt[] = []
  #over = false
  #delay: Disposable | undefined
  #aborted: Disposable | undefined

  constructor(options: RaceOptions) {
    this.#options = options
  }

  start(): void {
    this.#aborted = onAbort(this.#options.signal, () => {
      this.#end()
      this.#options.failed(new OspError('closed', `${abortText(this.#place)}${this.#tried}`))
    })
    if (!this.#over) this.#next()
  }

  #next(): void {
    this.#delay?.[Symbol.dispose]()
    const { host, port, clock, addresses, network, failed, connected } = this.#options
    const address = addresses[this.#attempts.length]
    if (address === undefined) {
      if (this.#running.size > 0) return
      this.#end()
      failed(allFailed(this.#place, host, this.#attempts))
      return
    }
    const attempt: Attempt = { address }
    this.#attempts.push(attempt)
    const stream = network.connect(address, port)
    this.#running.add(stream)
    // The listener stays: an error after the race must not be unhandled.
    stream.on('error', (error) => {
      if (this.#over) return
      this.#running.delete(stream)
      attempt.error = error
      this.#next()
    })
    stream.once('connect', () => {
      if (this.#over) return
      this.#running.delete(stream)
      this.#end()
      connected(stream)
    })
    this.#delay = clock.alarm(clock.now() + clientLimits.attemptDelayMs, () => this.#next())
  }

  #end(): void {
    this.#over = true
    this.#delay?.[Symbol.dispose]()
    this.#aborted?.[Symbol.dispose]()
    for (const stream of this.#running) reset(stream)
    this.#running.clear()
  }

  /** Describes the attempts so far. Returns an empty text if the caller named the only address. */
  get #tried(): string {
    const tried = this.#attempts.filter(({ address }) => address !== this.#options.host)
    const each = tried.map(({ address, error }) => `${address}: ${error ? reasonOf(error) : 'no answer'}`)
    return each.length === 0 ? '' : ` (${each.join('; ')})`
  }

  get #place(): string {
    return placeOf(this.#options.host, this.#options.port)
  }
}

/** Returns the addresses to try: each once, with alternating families, up to a limit. */
function inTurn(addresses: readonly string[]): readonly string[] {
  const [first = ''] = addresses
  const unique = [...new Set(addresses)]
  const preferred = unique.filter((address) => isIP(address) === isIP(first))
  const others = unique.filter((address) => isIP(address) !== isIP(first))
  const longest = Math.max(preferred.length, others.length)
  const mixed = Array.from({ length: longest }, (_, at) => [preferred[at], others[at]]).flat()
  return mixed.filter((address) => address !== undefined).slice(0, clientLimits.dialledAddresses)
}

function allFailed(place: string, host: string, attempts: readonly Attempt[]): OspError {
  const [first] = attempts
  if (!first) return unreachable('connect', place, new Error('the host name has no address'))
  if (attempts.length === 1 && first.address === host) return unreachable('connect', place, first.error)
  const reasons = attempts.map(({ address, error }) => ({ address, reason: reasonOf(error) }))
  const addresses = reasons.map(({ address }) => address).join(', ')
  const isOneReason = new Set(reasons.map(({ reason }) => reason)).size === 1
  const reason = isOneReason
    ? `${reasons[0]?.reason}; tried ${addresses}`
    : reasons.map(({ address, reason }) => `${address}: ${reason}`).join('; ')
  return new OspError('unreachable', `cannot connect to ${place}: ${reason}`, { reason, cause: first.error })
}

export const abortText = (place: string) => `connecting to ${place} was aborted`

/**
 * Resets a TCP connection: the kernel discards the bytes that it has not sent yet. After a plain close the kernel would
 * continue to send them, for minutes on a bad link.
 */
export function reset(stream: ByteStream): void {
  // A connecting socket has nothing to deliver, and a reset would wait until it has connected.
  if (stream.connecting || stream.destroyed) stream.destroy()
  else stream.resetAndDestroy()
}
