import { duplexPair } from 'node:stream'
import { ByteSocket } from '../../../lib/adapters/net/byteSocket.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import type { PeerAddress, Socket, SocketOptions, Transport } from '../../../lib/ports/socket.ts'
import { FakeStream } from '../../support/fakeStream.ts'
import { SeededRandom } from '../../support/random.ts'
import { VirtualClock } from '../../support/virtualClock.ts'

const peer: PeerAddress = { host: 'fuzz', port: 1, local: true }
const real = nodePlatform()

/** Resolves when every digest can be computed synchronously: loading one takes time that cannot be counted in turns. */
export async function loadDigests(): Promise<void> {
  for (const name of ['md5', 'sha256', 'xxh128'] as const) await real.digests.load(name)
}

const traits = { peer, guarded: false }

/** A transport to one server, over byte streams in memory. */
export interface StreamTransport extends Transport {
  /** Opens a link on which a spec sends arbitrary bytes. */
  connect(): FakeStream
}

export function streamTransport(): StreamTransport {
  let accept: (socket: Socket) => void = () => {}
  let options: SocketOptions | undefined
  const admit = (stream: ConstructorParameters<typeof ByteSocket>[0]) => {
    if (!options) throw new Error('nothing is listening')
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
      // A real stream has copied the bytes when it reports that they are written; their buffer is then used again.
      const write = near._write.bind(near)
      near._write = (bytes, encoding, written) => write(Buffer.from(bytes), encoding, written)
      const socket = new ByteSocket(near, traits, given)
      admit(far)
      // If one end breaks off, so does the other.
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

/** A deterministic platform, with a clock that moves only on request. */
export function deterministicPlatform(): Platform & { readonly clock: VirtualClock } {
  return { ...real, clock: new VirtualClock(), random: new SeededRandom(1) }
}
