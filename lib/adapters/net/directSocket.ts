import { Socket as ByteStream, type OnReadOpts, type SocketConstructorOpts } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { ByteSocket } from './byteSocket.ts'

interface DirectOptions extends SocketConstructorOpts {
  readonly handle: object
  readonly pauseOnCreate: boolean
  readonly onread: OnReadOpts
}

/** The part of a socket that receives the bytes of its stream. */
type DirectReader = Pick<ByteSocket, 'target' | 'received'>

/** A stream without `data` events. The caller must call `use` with its socket in the turn in which it got the stream. */
export interface DirectStream {
  readonly stream: ByteStream
  readonly use: UseReader
}

/** Lets a stream without `data` events read into the buffers of a socket. */
export type UseReader = (socket: DirectReader) => void

/**
 * Returns a stream with the connection of `accepted` that reads into the buffers of a `ByteSocket`, without `data` events and
 * without a buffer for each read; `accepted` must not have read yet. node:net has this for sockets that connect (`onread`), but
 * not for accepted ones. Returns `undefined` if `accepted` has no connection any more.
 */
export function directStream(accepted: ByteStream, first: Uint8Array): DirectStream | undefined {
  // Not public in node:net: the handle of an accepted socket can move to a socket with other options.
  const source = accepted as unknown as { _handle: object | null }
  const handle = source._handle
  if (!handle) return undefined
  source._handle = null
  const { use, onread } = readerWith(first)
  const options: DirectOptions = { handle, pauseOnCreate: true, onread }
  return { stream: new ByteStream(options), use }
}

/**
 * Like `directStream`, for a TLS stream that has just completed its handshake. node:tls has `onread` only for streams that make
 * their own connection. Returns `undefined` if this version of Node lacks the properties below; the stream then has `data`
 * events.
 */
export function directSecureStream(stream: TLSSocket, first: Uint8Array): DirectStream | undefined {
  // Not public in node:net: `onread` sets these properties, and gives the first buffer to the handle.
  const symbolOf = (name: string) =>
    Object.getOwnPropertySymbols(stream).find(({ description }) => description === name)
  const [kBuffer, kBufferGen, kBufferCb] = [symbolOf('kBuffer'), symbolOf('kBufferGen'), symbolOf('kBufferCb')]
  const { _handle: handle } = stream as unknown as { _handle: SecureHandle | null }
  if (!kBuffer || !kBufferGen || !kBufferCb || !handle?.useUserBuffer || stream.readableLength > 0) return undefined
  const { use, onread } = readerWith(first)
  const { buffer, callback } = onread
  Object.assign(stream, { [kBuffer]: first, [kBufferGen]: buffer, [kBufferCb]: callback })
  handle.useUserBuffer(first)
  return { stream, use }
}

interface SecureHandle {
  useUserBuffer?(first: Uint8Array): void
}

/** Returns `onread` options that read into the buffers of the socket that is passed to `use`. */
export function readerWith(first: Uint8Array) {
  let socket: DirectReader | undefined
  let target = first
  const use: UseReader = (owner) => {
    socket = owner
  }
  const buffer = () => {
    target = socket?.target ?? first
    return target
  }
  const callback = (length: number) => socket?.received(target, length) ?? false
  return { use, onread: { buffer, callback } }
}
