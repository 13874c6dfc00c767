import type { Socket as ByteStream } from 'node:net'
import type { PeerAddress } from '../../ports/socket.ts'
import { isLoopback } from './loopback.ts'

/** The other end of a stream. A peer that is gone already has no address any more. */
export function peerOf({ remoteAddress: host = '', remotePort: port = 0 }: ByteStream): PeerAddress {
  return { host, port, local: isLoopback(host) }
}
