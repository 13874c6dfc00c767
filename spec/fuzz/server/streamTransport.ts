import { duplexPair } from 'node:stream'
import { ByteSocket } from '../../../lib/adapters/net/byteSocket.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import type { PeerAddress, Socket, SocketOptions, Transport } from '../../../lib/ports/socket.ts'
import { SeededRandom } from '../../../lib/testing/random.ts'
import { FakeStream } from '../../support/fakeStream.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const peer: PeerAddress = { host: 'fuzz', port: 1, local: true }
const real = nodePlatform()

/** Resolves when every digest can be made at once: loading one takes time that no turn can be counted by. */
export async function loadDigests(): Promise<void> {
  for (const name of ['md5', 'sha256', 'xxh128'] as const) await real.digests.load(name)
}

const traits = { peer, guarded: false }

/** A way to one server, over streams of bytes in memory. */
export interface StreamTransport extends Transport {
  /** A link on which a spec says any bytes. */
  connect(): FakeStream
}

export function streamTransport(): StreamTransport {
  let accept: (socket: Socket) => void = () => {}
  let options: SocketOptions | undefined
  const admit = (stream: ConstructorParameters<typeof ByteSocket>[0]) => {
    if (!options) throw new Error('nobody listens')
    accept(new ByteSocket(stream, traits, options))
  }
  return {
    async listen(given) {
      options = given
      const close = async () => {}
      const start = (to: typeof accept) => {
        accept = to
      }
      return { address: peer, start, close, [Symbol.asyncDispose]: close }
    },
    async dial(given) {
      const [near, far] = duplexPair()
      const socket = new ByteSocket(near, traits, given)
      admit(far)
      // Where one end breaks off, so does the other.
      near.on('close', () => far.destroy())
      far.on('close', () => near.destroy())
      return socket
    },
    connect() {
      const stream = new FakeStream()
      admit(stream)
      return stream
    },
  }
}

/** A platform that does the same each time, on a clock that stands still until it is told to move. */
export function deterministicPlatform(): Platform & { readonly clock: VirtualClock } {
  return { ...real, clock: new VirtualClock(), random: new SeededRandom(1) }
}
