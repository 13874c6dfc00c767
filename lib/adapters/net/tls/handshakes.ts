import type { Socket as ByteStream } from 'node:net'
import { originOf } from '../../../origins.ts'
import type { SocketOptions } from '../../../ports/socket.ts'

/** What becomes of a connection by its first byte. */
export interface HandshakeUses {
  /** It begins a handshake of TLS. */
  readonly secure: (stream: ByteStream) => void
  /** It speaks something else. */
  readonly plain: (stream: ByteStream) => void
}

interface Waiting {
  /** The two ends of the connection. */
  readonly ends: string
  /** What connections are counted by. */
  readonly origin: string
  readonly alarm: Disposable | undefined
  readonly sinceMs: number
}

/** Every handshake of TLS begins with a record of this type. The length of no frame of this protocol does. */
const handshakeRecord = 0x16

/**
 * Connections that were not handed over yet. Until its first byte one costs nothing but itself: no TLS is begun for who
 * is silent. Who is not done in time is closed. There is a most of them; at one more, of the origin that has the most
 * the one that has waited longest is closed, so that nobody is kept out by those who hold places and do nothing.
 */
export class PendingHandshakes {
  readonly #options: SocketOptions
  readonly #uses: HandshakeUses
  /** The one that has waited longest comes first. */
  readonly #waiting = new Map<ByteStream, Waiting>()

  constructor(options: SocketOptions, uses: HandshakeUses) {
    this.#options = options
    this.#uses = uses
  }

  begin(stream: ByteStream): void {
    const { platform, handshakeMs, handshakes = Number.POSITIVE_INFINITY } = this.#options
    if (this.#waiting.size >= handshakes) this.#makeRoom()
    const sinceMs = platform.clock.now()
    const alarm =
      handshakeMs === undefined ? undefined : platform.clock.alarm(sinceMs + handshakeMs, () => stream.destroy())
    this.#waiting.set(stream, { ends: endsOf(stream), origin: originOf(stream.remoteAddress ?? ''), alarm, sinceMs })
    // A peer that breaks off is gone, whatever it says of it.
    stream.on('error', () => {})
    stream.on('close', () => this.#forget(stream))
    const look = () => {
      const bytes: Uint8Array | null = stream.read()
      if (!bytes) return
      stream.off('readable', look)
      stream.unshift(bytes)
      if (bytes[0] === handshakeRecord) this.#uses.secure(stream)
      else this.#uses.plain(stream)
    }
    stream.on('readable', look)
  }

  /** The handshake of this stream's peer is done; returns when it began, or `undefined` if it was given up. */
  done(secured: ByteStream): number | undefined {
    // Of the latest, where a peer has used its port again before the end of the former connection was seen.
    const ends = endsOf(secured)
    const stream = [...this.#waiting].findLast(([, waiting]) => waiting.ends === ends)?.[0]
    return stream && this.#forget(stream)?.sinceMs
  }

  /** Closes all that are not done. */
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

/**
 * The stream of a connection and what TLS makes of it are two, and have their ends in common. Both ends count: from one port
 * a peer can reach several addresses of this machine.
 */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: ByteStream): string {
  return [remoteAddress, remotePort, localAddress, localPort].join(' ')
}
