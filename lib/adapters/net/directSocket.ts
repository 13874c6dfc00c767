import { Socket as ByteStream, type OnReadOpts, type SocketConstructorOpts } from 'node:net'
import type { ByteSocket } from './byteSocket.ts'

interface DirectOptions extends SocketConstructorOpts {
  readonly handle: object
  readonly pauseOnCreate: boolean
  readonly onread: OnReadOpts
}

/** What of a socket reads its stream. */
type DirectReader = Pick<ByteSocket, 'target' | 'received'>

/**
 * Returns a stream with the connection of `accepted` that reads into the buffers of a `ByteSocket`, without `data` events and
 * without a buffer for each read; `accepted` must not have read yet. node:net has this for sockets that connect (`onread`), but
 * not for accepted ones. Returns `undefined` if `accepted` has no connection any more. Call `use` with the socket in the same turn.
 */
export function directStream(
  accepted: ByteStream,
  first: Uint8Array,
): { readonly stream: ByteStream; use(socket: DirectReader): void } | undefined {
  // Not public in node:net: the handle of an accepted socket can move to a socket with other options.
  const source = accepted as unknown as { _handle: object | null }
  const handle = source._handle
  if (!handle) return undefined
  source._handle = null
  let socket: DirectReader | undefined
  let target = first
  const options: DirectOptions = {
    handle,
    pauseOnCreate: true,
    onread: {
      buffer: () => {
        target = socket?.target ?? first
        return target
      },
      callback: (length) => socket?.received(target, length) ?? false,
    },
  }
  return {
    stream: new ByteStream(options),
    use(owner) {
      socket = owner
    },
  }
}
