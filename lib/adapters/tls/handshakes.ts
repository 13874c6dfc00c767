import type { Socket as ByteStream } from 'node:net'
import type { SocketOptions } from '../../ports/socket.ts'

/** What becomes of a connection by its first byte. */
export interface HandshakeUses {
  /** It begins a handshake of TLS. */
  readonly secure: (stream: ByteStream) => void
  /** It speaks something else. */
  readonly plain: (stream: ByteStream) => void
}

interface Waiting {
  readonly stream: ByteStream
  readonly host: string
  readonly alarm: Disposable | undefined
  readonly sinceMs: number
}

/** Every handshake of TLS begins with a record of this type. The length of no frame of this protocol does. */
const handshakeRecord = 0x16

/**
 * Connections that were not handed over yet. Until its first byte one costs nothing but itself: no TLS is begun for who
 * is silent. Who is not done in time is closed. There is a most of them; at one more, of the address that has the most
 * the one that has waited longest is closed, so that nobody is kept out by those who hold places and do nothing.
 */
export class Handshakes {
  readonly #options: SocketOptions
  readonly #uses: HandshakeUses
  /** By where their peers are; the one that has waited longest comes first. */
  readonly #waiting = new Map<string, Waiting>()

  constructor(options: SocketOptions, uses: HandshakeUses) {
    this.#options = options
    this.#uses = uses
  }

  begin(stream: ByteStream): void {
    const { platform, handshakeMs, handshakes = Number.POSITIVE_INFINITY } = this.#options
    const place = keyOf(stream)
    if (this.#waiting.size >= handshakes) this.#makeRoom()
    const sinceMs = platform.clock.now()
    const alarm =
      handshakeMs === undefined ? undefined : platform.clock.alarm(sinceMs + handshakeMs, () => stream.destroy())
    this.#forget(place)
    this.#waiting.set(place, { stream, host: stream.remoteAddress ?? '', alarm, sinceMs })
    // A peer that breaks off is gone, whatever it says of it.
    stream.on('error', () => {})
    stream.on('close', () => this.#forget(place))
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
  done(stream: ByteStream): number | undefined {
    return this.#forget(keyOf(stream))?.sinceMs
  }

  /** Closes all that are not done. */
  close(): void {
    for (const { stream } of this.#waiting.values()) stream.destroy()
  }

  #forget(place: string): Waiting | undefined {
    const waiting = this.#waiting.get(place)
    waiting?.alarm?.[Symbol.dispose]()
    this.#waiting.delete(place)
    return waiting
  }

  #makeRoom(): void {
    const counts = new Map<string, number>()
    for (const { host } of this.#waiting.values()) counts.set(host, (counts.get(host) ?? 0) + 1)
    const most = Math.max(...counts.values())
    const oldest = [...this.#waiting].find(([, { host }]) => counts.get(host) === most)
    if (!oldest) return
    const [place, { stream }] = oldest
    this.#forget(place)
    stream.destroy()
  }
}

/** The stream of a connection and what TLS makes of it are two, with one peer. */
const keyOf = ({ remoteAddress, remotePort }: ByteStream) => `${remoteAddress} ${remotePort}`
