import { type Socket as ByteStream, connect, isIP, type OnReadOpts } from 'node:net'
import { OspError } from '../../errors.ts'
import { clientLimits } from '../../limits.ts'
import type { Clock } from '../../ports/platform.ts'
import { deferred } from '../../runtime/deferred.ts'
import { onAbort, unlessAborted } from '../../runtime/wait.ts'
import { placeOf, reasonOf, unreachable } from './addresses.ts'
import { readerWith, type UseReader } from './directSocket.ts'

/** The options of a TCP connection. */
export interface DialOptions {
  readonly host: string
  readonly port: number
  readonly clock: Clock
  readonly signal: AbortSignal
  /** The first buffer of a stream without `data` events. By default the stream has them. */
  readonly first?: Uint8Array
}

/** The network functions that dialling uses. */
export interface Network {
  /** Looks up the addresses of a host name, the preferred one first. */
  lookup(host: string): Promise<readonly string[]>
  connect(address: string, port: number, onread?: OnReadOpts): ByteStream
}

const nodeNetwork: Network = {
  async lookup(host) {
    // Loaded on demand, since an IP address needs no lookup.
    const { ADDRCONFIG, promises } = await import('node:dns')
    const found = await promises.lookup(host, { all: true, verbatim: true, hints: ADDRCONFIG })
    return found.map(({ address }) => address)
  },
  connect: (host, port, onread) => {
    return connect({ host, port, noDelay: true, autoSelectFamily: false, ...(onread && { onread }) })
  },
}

/**
 * Connects to the addresses of a host in turn, as RFC 8305 describes. The next attempt starts when the previous one
 * fails or after `clientLimits.attemptDelayMs`, and does not end any other attempt. Calls `use` with the first stream
 * that connects, in the same turn, so that no event of the stream is missed, and abandons the other attempts; if the stream has no
 * `data` events, `use` must call its second argument with the socket. Resolves
 * with the result of `use`. Rejects with OspError `unreachable` when all attempts have failed, or `closed` when
 * `signal` aborts.
 */
export async function dialTcp<T>(
  { host, port, clock, signal, first }: DialOptions,
  use: (stream: ByteStream, reader: UseReader) => T,
  network: Network = nodeNetwork,
): Promise<T> {
  const place = placeOf(host, port)
  const lookedUp = isIP(host) ? Promise.resolve([host]) : network.lookup(host)
  const found = await unlessAborted(lookedUp, signal, abortText(place)).catch((error: unknown) => {
    throw error instanceof OspError ? error : unreachable('connect', place, error)
  })
  const addresses = inTurn(found)
  const attempts: Attempt[] = []
  /** Abandoned streams are not in this set, and their events are ignored. */
  const running = new Set<ByteStream>()
  const { promise, resolve, reject } = deferred<T>()
  let delay: Disposable | undefined

  const abandon = () => {
    delay?.[Symbol.dispose]()
    for (const stream of running) reset(stream)
    running.clear()
  }
  const next = () => {
    delay?.[Symbol.dispose]()
    const address = addresses[attempts.length]
    if (address === undefined) {
      if (running.size === 0) reject(allFailed(place, host, attempts))
      return
    }
    const attempt: Attempt = { address }
    attempts.push(attempt)
    const reader = first && readerWith(first)
    const stream = network.connect(address, port, reader?.onread)
    running.add(stream)
    // The listener stays: a later error must not be unhandled.
    stream.on('error', (error) => {
      if (!running.delete(stream)) return
      attempt.error = error
      next()
    })
    stream.once('connect', () => {
      if (!running.delete(stream)) return
      abandon()
      resolve(use(stream, reader?.use ?? (() => {})))
    })
    delay = clock.alarm(clock.now() + clientLimits.attemptDelayMs, next)
  }
  using _ = onAbort(signal, () => {
    abandon()
    reject(new OspError('closed', `${abortText(place)}${triedText(host, attempts)}`))
  })
  if (!signal.aborted) next()
  return await promise
}

interface Attempt {
  readonly address: string
  error?: Error
}

/** Describes the attempts so far. Returns an empty text if the caller named the only address. */
function triedText(host: string, attempts: readonly Attempt[]): string {
  const tried = attempts.filter(({ address }) => address !== host)
  const each = tried.map(({ address, error }) => `${address}: ${error ? reasonOf(error) : 'no answer'}`)
  return each.length === 0 ? '' : ` (${each.join('; ')})`
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

/** Resets a TCP connection. After a plain close, the kernel would send the rest, for minutes on a bad link. */
export function reset(stream: ByteStream): void {
  // A connecting socket has nothing to deliver, and a reset would wait until it has connected.
  if (stream.connecting || stream.destroyed) stream.destroy()
  else stream.resetAndDestroy()
}
