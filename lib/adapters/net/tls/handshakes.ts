import type { Socket as ByteStream } from 'node:net'
import { originOf } from '../../../origins.ts'
import type { PeerAddress, SocketOptions } from '../../../ports/socket.ts'
import { peerOf } from '../addresses.ts'

/** The client of a connection, and the time at which it connected. */
interface ConnectedPeer {
  readonly peer: PeerAddress
  readonly connectedAtMs: number
}

interface Waiting extends ConnectedPeer {
  /** The two ends of the connection. */
  readonly ends: string
  /** The origin by which connections are counted. */
  readonly origin: string
  readonly alarm: Disposable | undefined
}

/** The type of the first record of every TLS handshake. No frame of this protocol begins with this byte. */
const handshakeRecord = 0x16

/**
 * Limits the connections that have not completed their TLS handshake. TLS starts at the first byte of a connection, so that
 * a silent connection costs little. A connection that does not complete its handshake in time is closed. If there are too
 * many, the oldest connection of the origin with the most connections is closed, so that idle connections cannot keep out
 * other clients.
 */
export class PendingHandshakes {
  readonly #options: SocketOptions
  readonly #use: (stream: ByteStream, isTls: boolean, peer: PeerAddress) => void
  /** The pending connections, the oldest first. */
  readonly #waiting = new Map<ByteStream, Waiting>()

  /** Each connection is passed to `use` when its first byte has arrived. */
  constructor(options: SocketOptions, use: (stream: ByteStream, isTls: boolean, peer: PeerAddress) => void) {
    this.#options = options
    this.#use = use
  }

  /** Waits for the handshake of a connection. `client` is set if a balancer has named it. */
  begin(stream: ByteStream, client?: ConnectedPeer): void {
    const { platform, handshakeMs, handshakes = Number.POSITIVE_INFINITY } = this.#options
    if (this.#waiting.size >= handshakes) this.#makeRoom()
    const { peer = peerOf(stream), connectedAtMs = platform.clock.now() } = client ?? {}
    const alarm =
      handshakeMs === undefined ? undefined : platform.clock.alarm(connectedAtMs + handshakeMs, () => stream.destroy())
    this.#waiting.set(stream, { ends: endsOf(stream), origin: originOf(peer.host), peer, alarm, connectedAtMs })
    // The `close` event handles the end of a connection that fails.
    stream.on('error', () => {})
    stream.on('close', () => this.#forget(stream))
    const look = () => {
      const bytes: Uint8Array | null = stream.read()
      if (!bytes) return
      stream.off('readable', look)
      stream.unshift(bytes)
      this.#use(stream, bytes[0] === handshakeRecord, peer)
    }
    stream.on('readable', look)
  }

  /** Removes a connection after its handshake. Returns its client, or `undefined` if it was closed meanwhile. */
  done(secured: ByteStream): ConnectedPeer | undefined {
    // Uses the latest: a peer can reuse its port before the end of its former connection is noticed.
    const ends = endsOf(secured)
    const stream = [...this.#waiting].findLast(([, waiting]) => waiting.ends === ends)?.[0]
    return stream && this.#forget(stream)
  }

  /** Closes all pending connections. */
  close(): void {
    for (const stream of this.#waiting.keys()) stream.destroy()
  }

  #forget(stream: ByteStream): Waiting | undefined {
    const waiting = this.#waiting.get(stream)
    waiting?.alarm?.[Symbol.dispose]()
    this.#waiting.delete(stream)
    return waiting
  }

  #makeRoom(): void {
    const counts = new Map<string, number>()
    for (const { origin } of this.#waiting.values()) counts.set(origin, (counts.get(origin) ?? 0) + 1)
    const most = Math.max(...counts.values())
    const [stream] = [...this.#waiting].find(([, { origin }]) => counts.get(origin) === most) ?? []
    if (!stream) return
    this.#forget(stream)
    stream.destroy()
  }
}

/** Returns the addresses of both ends, which the TCP and TLS streams share. One port can reach several addresses. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: ByteStream): string {
  return [remoteAddress, remotePort, localAddress, localPort].join(' ')
}
