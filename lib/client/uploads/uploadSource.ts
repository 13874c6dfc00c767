import { OspError } from '../../errors.ts'
import { shown } from '../../options.ts'
import type { ClientState } from '../../ports/clientState.ts'
import type { LocalFiles } from '../../ports/localFiles.ts'
import type { FileSource, Spooled } from '../../ports/source.ts'
import { unlessAborted } from '../../runtime/wait.ts'

/** Bytes in memory. They must not change until the upload has ended. */
export type Bytes = ArrayBuffer | ArrayBufferView

/** A stream of bytes, such as a `Readable` of Node or a `ReadableStream`. It is read to its end before the upload begins. */
export type ByteStream = AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>

/** What a client uploads: the path of a file, a `file:` URL, a `Blob` or `File`, bytes, a stream of bytes, or a source. */
export type UploadSource = string | URL | Blob | Bytes | ByteStream | FileSource

/** The error text of an upload whose signal has aborted. */
export const abortedText = 'the upload was aborted'

const hasMethod = (value: unknown, name: string | symbol) =>
  typeof value === 'object' && value !== null && typeof Reflect.get(value, name) === 'function'

/** Checks the methods: a `Blob` can come from another implementation. */
export const isBlob = (value: unknown): value is Blob =>
  hasMethod(value, 'arrayBuffer') && hasMethod(value, 'slice') && hasMethod(value, 'stream')

export const isBytes = (value: unknown): value is Bytes =>
  ArrayBuffer.isView(value) || Object.prototype.toString.call(value) === '[object ArrayBuffer]'

export const isStream = (value: unknown): value is ByteStream =>
  hasMethod(value, Symbol.asyncIterator) || hasMethod(value, 'getReader')

/** How a value becomes a source. */
export interface SourceOptions {
  readonly name: string | undefined
  /** The modification time of content without one: milliseconds since 1970. */
  readonly nowMs: number
  /** Missing in a client without a file system. */
  readonly files: LocalFiles | undefined
  readonly state: Pick<ClientState, 'spool'>
  readonly signal: AbortSignal
}

/**
 * Resolves with the source of a value other than a `FileSource`, and with the spooled content if it is a stream. Rejects with
 * OspError `usage` if it needs a name, and as `ClientState.spool` does.
 */
export async function sourceOf(
  value: Exclude<UploadSource, FileSource>,
  options: SourceOptions,
): Promise<{ readonly source: FileSource; readonly spooled?: Spooled }> {
  const { files, nowMs } = options
  if (typeof value === 'string' || value instanceof URL) {
    if (!files) throw noFiles('a Blob, bytes or a source')
    return { source: await files.source(value, options.name) }
  }
  if (isBlob(value)) {
    const { name: ownName, lastModified = nowMs } = value as Partial<File>
    return { source: blobSource(value, nameFor(value, options.name ?? ownName), lastModified) }
  }
  const name = nameFor(value, options.name)
  if (isBytes(value)) return { source: bytesSource(viewOf(value), name, nowMs) }
  const { state, signal } = options
  const parts = readerOf(value)
  try {
    const content = partsOf(parts, signal)
    const spooled = await (state.spool?.(content, name) ?? files?.spool(content, name))
    if (!spooled) throw noFiles('a Blob, bytes or a source')
    return { source: spooled.source, spooled }
  } finally {
    parts.leave()
  }
}

function nameFor(value: unknown, name: string | undefined): string {
  if (name !== undefined) return name
  throw new OspError('usage', `client.upload: the option name is required for ${shown(value)}`)
}

/** Returns the error of a client without a file system, which takes only `others`. */
export function noFiles(others: string): OspError {
  return new OspError('usage', `this client has no file system; pass ${others}`)
}

const viewOf = (bytes: Bytes) =>
  ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes)

/** Reads a stream. `leave` cancels it, even while a read is pending. */
interface StreamReader {
  next(): Promise<IteratorResult<unknown>>
  leave(): void
}

/** Yields the parts of a stream, which must be bytes. Rejects with OspError `closed` if `signal` aborts. */
async function* partsOf(stream: StreamReader, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { done, value } = await unlessAborted(stream.next(), signal, abortedText)
    if (done) return
    if (!ArrayBuffer.isView(value)) {
      const advice = typeof value === 'string' ? '; remove its encoding' : ''
      throw new OspError('source-unreadable', `the stream yields ${shown(value)} instead of bytes${advice}`)
    }
    yield value instanceof Uint8Array ? value : viewOf(value)
  }
}

function readerOf(stream: ByteStream): StreamReader {
  // Not every web stream is iterable.
  if (hasMethod(stream, 'getReader')) {
    const reader = (stream as ReadableStream<unknown>).getReader()
    return {
      next: () => reader.read() as Promise<IteratorResult<unknown>>,
      leave: () => void reader.cancel().catch(() => {}),
    }
  }
  const parts = (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]()
  // The iterator of a stream of Node returns only after the next part.
  const { destroy } = stream as { destroy?: () => void }
  return {
    next: () => parts.next(),
    leave: () => (destroy ? destroy.call(stream) : void parts.return?.().catch(() => {})),
  }
}

const opened = { unchanged: async () => true, [Symbol.asyncDispose]: async () => {} }

function bytesSource(content: Uint8Array, name: string, modifiedAt: number): FileSource {
  return {
    name,
    readWhole: (maxBytes) => (content.length <= maxBytes ? { content, modifiedAt } : undefined),
    open: async () => ({
      ...opened,
      size: content.length,
      modifiedAt,
      async read(into, offset) {
        const part = content.subarray(offset, offset + into.length)
        into.set(part)
        return part.length
      },
    }),
  }
}

function blobSource(blob: Blob, name: string, modifiedAt: number): FileSource {
  return {
    name,
    open: async () => ({
      ...opened,
      size: blob.size,
      modifiedAt,
      async read(into, offset) {
        const part = new Uint8Array(await blob.slice(offset, offset + into.length).arrayBuffer())
        into.set(part)
        return part.length
      },
    }),
  }
}
