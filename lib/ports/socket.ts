import type { OspError } from '../errors.ts'
import type { Frame } from '../wire/frame.ts'
import type { Platform } from './platform.ts'

/** The address of a listener or a peer. */
export interface Address {
  /** An IP address, the path of a Unix socket, or a name in memory. */
  readonly host: string
  /** 0 if the transport has no ports. */
  readonly port: number
  /** The other end is on this machine. */
  readonly local: boolean
}

/** How a TLS server was verified before anything was sent to it. */
export interface Verification {
  /** `authority`: its certificate has a trusted root. `key`: it has none, and its public key is trusted. */
  readonly by: 'authority' | 'key'
  /** The fingerprint of its public key, as `fingerprintOf` returns it. */
  readonly fingerprint: string
}

/** The other end of a socket. */
export interface PeerAddress extends Address {
  /** How the server at the other end was verified, on sockets that verify one. */
  readonly verification?: Verification
  /** The name in the verified certificate of the peer, on sockets that check one. */
  readonly certificateName?: string
  /** The reason why the certificate of the peer has no valid name. */
  readonly certificateFault?: string
}

/** The options of every socket. */
export interface SocketOptions {
  readonly platform: Pick<Platform, 'clock' | 'crc32'>
  /** The first value of `Socket.maxPayload`. */
  readonly maxPayload: number
  /** The time limit of a handshake of the transport, such as TLS, and the number of handshakes at once. */
  readonly handshakeMs?: number
  readonly handshakes?: number
  /** The maximum number of connections that the system holds until the listener accepts them; by default that of the system. */
  readonly backlog?: number
  /** Called with the reason when a listener closes a connection before it becomes a socket. */
  readonly rejected?: (peer: PeerAddress, reason: OspError) => void
}

/** Connects peers, for example by TCP, by TLS or in memory. */
export interface Transport {
  /** Resolves when peers can connect; rejects with an OspError `unreachable` that names the address. */
  listen(options: SocketOptions): Promise<Listener>
  /** Resolves with a connected socket; rejects with an OspError `unreachable`, or `closed` if `signal` aborts. */
  dial(options: SocketOptions, signal: AbortSignal): Promise<Socket>
}

/** Accepts connections at an address. */
export interface Listener extends AsyncDisposable {
  readonly address: Address
  /** Passes every socket that connects from now on, and those that already wait, to `accept`. Called once. */
  start(accept: (socket: Socket) => void): void
  /** Accepts no more connections; accepted sockets stay open. Idempotent. */
  close(): Promise<void>
}

/** The events of a socket. None occurs before `start` or after `closed`. */
export interface SocketEvents {
  /** A whole frame arrived. The receiver owns its payload. */
  frame(frame: Frame): void
  /**
   * Bytes arrived that end within a frame: `payloadBytes` is the announced length, or 0 until the header is complete.
   * `heldBytes` is the memory that the frame uses so far, if it is known.
   */
  begun(payloadBytes: number, heldBytes?: number): void
  /** The peer's bytes are not frames (OspError `malformed`). The socket reads no more; the owner closes it. */
  fault(why: OspError): void
  /** The socket can take frames again, after `send` has returned false. */
  drained(): void
  /** Either side has closed the socket; the error is absent after an orderly end. Occurs exactly once. */
  closed(why?: OspError): void
}

/** A connection that carries whole frames in both directions. */
export interface Socket {
  /** Every frame arrives once and in order, or the socket closes. */
  readonly reliable: boolean
  /** The transport encrypts the bytes and protects them against damage, as TLS does. */
  readonly guarded: boolean
  readonly peer: PeerAddress
  /** When the connection began, by the platform's clock; absent if it began when the socket was passed on. */
  readonly connectedAtMs?: number
  /** The maximum length of a payload from the peer, in bytes; a longer one is a fault before memory is allocated. */
  maxPayload: number
  /** Whether the checksum of a frame covers the content of a file; false once both sides have agreed on feature bit 0. */
  checksContent?: boolean
  start(to: SocketEvents): void
  /**
   * Accepts a frame, also when the socket is full. Returns false if it is full: wait for `drained`. Calls `onFlushed` when
   * the bytes have left the memory of this process and may be overwritten; never if the socket closes first.
   */
  send(frame: Frame, onFlushed?: () => void): boolean
  /** Reads nothing until `resume`; a frame that was already read may still be reported. */
  pause(): void
  resume(): void
  /** Sends the accepted frames, then `last`. Resolves when the socket is closed: soon, even if the peer never reads. */
  close(last?: Frame): Promise<void>
  /** Closes at once, with a reset if the transport supports it. Unsent bytes are lost and are not delivered later. */
  destroy(): void
}
