import type { OspError } from '../errors.ts'
import type { Frame } from '../wire/frame.ts'
import type { Platform } from './platform.ts'

/** Where a listener or a peer is. */
export interface Address {
  /** An IP address, the path of a Unix socket, or a name in memory. */
  readonly host: string
  /** 0 where there are no ports. */
  readonly port: number
  /** Only this machine can be at the other end. */
  readonly local: boolean
}

/** How a server of TLS was verified before anything was sent to it. */
export interface Verification {
  /** `authority`: a root vouches for its certificate. `key`: none does, and its public key is trusted. */
  readonly by: 'authority' | 'key'
  /** The fingerprint of its public key, as `fingerprintOf` returns it. */
  readonly fingerprint: string
}

/** The other end of a socket. */
export interface PeerAddress extends Address {
  /** How the server at the other end was verified, on sockets that verify one. */
  readonly verification?: Verification
  /** The name in the certificate that the peer has proved to hold, on sockets that check one. */
  readonly certificateName?: string
  /** Why the certificate that the peer has shown gives no name. */
  readonly certificateFault?: string
}

/** What every socket needs from its owner. */
export interface SocketOptions {
  readonly platform: Pick<Platform, 'clock' | 'crc32'>
  /** The first value of `Socket.maxPayload`. */
  readonly maxPayload: number
  /** How long a listener waits for a handshake of the transport's own, as of TLS, and for how many of them at once. */
  readonly handshakeMs?: number
  readonly handshakes?: number
}

/** A way to reach a peer: memory, TCP and what may come. */
export interface Transport {
  /** Resolves when peers can connect; rejects with an OspError `unreachable` that names the address. */
  listen(options: SocketOptions): Promise<Listener>
  /** Resolves with a connected socket; rejects with an OspError `unreachable`, or `closed` if `signal` aborts. */
  dial(options: SocketOptions, signal: AbortSignal): Promise<Socket>
}

/** An open door. */
export interface Listener extends AsyncDisposable {
  readonly address: Address
  /** Hands over every socket that connects from now on, and those that already wait. Called once. */
  start(accept: (socket: Socket) => void): void
  /** Lets nobody in any more; sockets handed over live on. Idempotent. */
  close(): Promise<void>
}

/** What a socket tells its owner. Nothing is told before `start`, and nothing after `closed`. */
export interface SocketEvents {
  /** A whole frame arrived. Its payload is the receiver's to keep. */
  frame(frame: Frame): void
  /**
   * Bytes arrived that end within a frame: `payloadBytes` is the length it announces, 0 while its header
   * is not complete. `heldBytes` is the memory that it takes so far; absent, it is not known.
   */
  begun(payloadBytes: number, heldBytes?: number): void
  /** The peer's bytes are not frames (OspError `malformed`). Nothing more is read; the owner closes. */
  fault(why: OspError): void
  /** After `send` has returned false: there is room again. */
  drained(): void
  /** It is gone, by whichever side; `why` is absent after an orderly end. Told exactly once. */
  closed(why?: OspError): void
}

/** A connection that carries whole frames in both directions. */
export interface Socket {
  /** Frames arrive all, once and in order, or the socket closes. */
  readonly reliable: boolean
  /** Its bytes are guarded against damage by more than the frames' CRC, and against readers on the way, as TLS does. */
  readonly guarded: boolean
  readonly peer: PeerAddress
  /** When its connection began, by the platform's clock; absent where that was when it was handed over. */
  readonly connectedAtMs?: number
  /** Longest payload, in bytes, that it takes from the peer; a longer one is a fault before anything is allocated. */
  maxPayload: number
  start(to: SocketEvents): void
  /**
   * Takes a frame, always. False: it is full, wait for `drained`. `left` runs once when the frame's bytes have
   * left this process' memory (they may be overwritten then), or never if the socket closes first.
   */
  send(frame: Frame, left?: () => void): boolean
  /** Reads nothing until `resume`; a frame that was read already may still be told. */
  pause(): void
  resume(): void
  /** Sends what it took, then `last`, then closes; resolves when it is gone. A peer that does not read is not waited for. */
  close(last?: Frame): Promise<void>
  /** Closes at once, with a reset if the transport supports it. Unsent bytes are lost and are not delivered later. */
  destroy(): void
}
