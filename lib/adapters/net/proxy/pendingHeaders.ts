import type { Socket as ByteStream } from 'node:net'
import { OspError } from '../../../errors.ts'
import type { PeerAddress, SocketOptions } from '../../../ports/socket.ts'
import { isLoopback, peerOf } from '../addresses.ts'
import { socketBounds } from '../socketBounds.ts'
import { invalidHeader, type ProxyHeader, readProxyHeader } from './header.ts'
import { networkCheck } from './networks.ts'

/** The client of a connection, as the header of a balancer names it. */
export interface ProxiedClient {
  readonly peer: PeerAddress
  /** When the connection to the balancer began. */
  readonly connectedAtMs: number
  /** The bytes of the client that followed the header. They alias the pushed bytes, or a copy. */
  readonly rest: Uint8Array
}

/** A connection whose header is incomplete. */
interface Pending {
  readonly balancer: PeerAddress
  readonly connectedAtMs: number
  readonly alarm: Disposable | undefined
  /** The bytes so far. */
  bytes: Uint8Array
}

const none = new Uint8Array(0)

/**
 * The connections from balancers whose PROXY header has not arrived completely. A connection without a valid header in time is
 * closed and reported. A connection that ends before its first byte, or that the balancer has opened itself, is closed without a
 * report, since balancers check in this way whether the server accepts connections.
 */
export class PendingHeaders {
  readonly #isBalancer: (host: string) => boolean
  readonly #options: SocketOptions
  /** The oldest first. */
  readonly #pending = new Map<ByteStream, Pending>()

  /** Expects a header on each connection from these networks. */
  constructor(networks: readonly string[], options: SocketOptions) {
    this.#isBalancer = networkCheck(networks)
    this.#options = options
  }

  /** Returns whether a connection of this peer must begin with a header. */
  expects({ host }: PeerAddress): boolean {
    return this.#isBalancer(host)
  }

  /** Waits for the header of a connection. The owner of the stream passes its bytes to `push`. */
  begin(stream: ByteStream): void {
    const { platform, handshakeMs } = this.#options
    const [oldest] = this.#pending.keys()
    if (oldest && this.#pending.size >= socketBounds.proxyHeaders)
      this.#reject(oldest, invalidHeader(`more than ${socketBounds.proxyHeaders} connections wait for their header`))
    const connectedAtMs = platform.clock.now()
    const late = () => this.#reject(stream, invalidHeader(`it is not complete after ${handshakeMs} ms`))
    const alarm = handshakeMs === undefined ? undefined : platform.clock.alarm(connectedAtMs + handshakeMs, late)
    this.#pending.set(stream, { balancer: peerOf(stream), connectedAtMs, alarm, bytes: none })
    // The `close` event handles the end of a connection that fails.
    stream.on('error', () => {})
    stream.on('close', () => {
      if (this.#pending.get(stream)?.bytes.length)
        this.#reject(stream, invalidHeader('the connection ended before it was complete'))
      this.#forget(stream)
    })
  }

  /** Takes bytes of a connection. Returns its client once the header is complete. Closes the connection if it has none. */
  push(stream: ByteStream, bytes: Uint8Array): ProxiedClient | undefined {
    const pending = this.#pending.get(stream)
    if (!pending) return undefined
    const all = pending.bytes.length === 0 ? bytes : Buffer.concat([pending.bytes, bytes])
    const header = this.#headerOf(stream, all)
    if (!header) {
      // The owner reuses the memory of `bytes`.
      pending.bytes = Uint8Array.from(all)
      return undefined
    }
    this.#forget(stream)
    if (header.command === 'local') {
      stream.destroy()
      return undefined
    }
    const { balancer, connectedAtMs } = pending
    return { peer: clientOf(header, balancer), connectedAtMs, rest: all.subarray(header.length) }
  }

  /** Closes all pending connections. */
  close(): void {
    for (const stream of [...this.#pending.keys()]) {
      this.#forget(stream)
      stream.destroy()
    }
  }

  #headerOf(stream: ByteStream, bytes: Uint8Array): ProxyHeader | undefined {
    try {
      return readProxyHeader(bytes)
    } catch (error) {
      if (!(error instanceof OspError)) throw error
      this.#reject(stream, error)
      return undefined
    }
  }

  #reject(stream: ByteStream, error: OspError): void {
    const pending = this.#forget(stream)
    stream.destroy()
    if (pending) this.#options.rejected?.(pending.balancer, error)
  }

  #forget(stream: ByteStream): Pending | undefined {
    const pending = this.#pending.get(stream)
    pending?.alarm?.[Symbol.dispose]()
    this.#pending.delete(stream)
    return pending
  }
}

/**
 * Returns the client as a peer. It counts as local only if the balancer is local as well, since otherwise its bytes cross a
 * network.
 */
function clientOf({ source }: ProxyHeader, balancer: PeerAddress): PeerAddress {
  if (!source) return { ...balancer, local: false }
  return { ...source, local: balancer.local && isLoopback(source.host) }
}
