import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import * as z from 'zod/mini'
import { type ErrorCode, errors, OspError } from '../../errors.ts'
import { KiB, MiB } from '../../limits.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import type { Answering, Control, Served } from '../../ports/control.ts'
import { jsonOf } from '../../runtime/json.ts'
import { onAbort } from '../../runtime/wait.ts'
import { makePath } from '../disk/directories.ts'
import { attempt } from '../disk/faults.ts'
import { unreachable } from '../net/addresses.ts'
import { type ControlPlace, controlPlace, fixedPath, listenAt, type SocketPath, socketAt } from './place.ts'

/** The limits of both ends of a control socket. */
const controlBounds = {
  /** The maximum length of a request. */
  requestBytes: 256 * KiB,
  /** The maximum length of an answer, and of all answers that wait for one client. */
  unsentBytes: 8 * MiB,
  /** The maximum number of clients that are served at once. */
  connections: 32,
  /** The maximum number of further clients that receive an error. Other clients are disconnected immediately. */
  refused: 32,
  /** How long either side waits for the other to send a request, to read an answer, or to close. */
  silenceMs: 10_000,
} as const

/** A line from the server. It confirms a request, sends any number of answers, and ends with `done` or `error`. */
const replySchema = z.union([
  z.strictObject({ taken: z.literal(true) }),
  z.strictObject({ answer: z.unknown() }),
  z.strictObject({ error: z.object({ code: z.string(), text: z.string() }) }),
  z.strictObject({ done: z.literal(true) }),
])

export type Reply = z.infer<typeof replySchema>

/** Splits bytes into lines of up to `mostBytes`. */
class LineSplitter {
  readonly #mostBytes: number
  #parts: Uint8Array[] = []
  #bytes = 0

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  /** Adds bytes and yields the complete lines. Throws OspError `too-large` for a line that is too long. */
  *push(chunk: Uint8Array): Generator<string, void> {
    for (let from = 0; ; ) {
      const at = chunk.indexOf(10, from)
      const part = chunk.subarray(from, at < 0 ? undefined : at)
      this.#bytes += part.length
      if (this.#bytes > this.#mostBytes) {
        throw new OspError('too-large', `a line has at most ${this.#mostBytes} bytes`)
      }
      this.#parts.push(part)
      if (at < 0) return
      const line = Buffer.concat(this.#parts).toString('utf8')
      this.#parts = []
      this.#bytes = 0
      from = at + 1
      yield line
    }
  }
}

/** Parses a request. Throws OspError `malformed` if the line is not a JSON object. */
function requestOf(line: string): object {
  const value = jsonOf(line)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new OspError('malformed', 'a request is one JSON object on a line')
}

/** Parses a reply. Throws OspError `malformed` if the line is not a reply. */
export function replyOf(line: string): Reply {
  const result = replySchema.safeParse(jsonOf(line))
  if (result.success) return result.data
  throw new OspError('malformed', 'the answer is not valid; it comes from another version of ospd')
}

/** Returns the error of a reply. An unknown code, from another version, becomes `internal`. */
export const readError = ({ code, text }: { readonly code: string; readonly text: string }): OspError =>
  new OspError(Object.hasOwn(errors, code) ? (code as ErrorCode) : 'internal', text)

const formatLine = (value: unknown): string => `${JSON.stringify(value)}\n`

export interface ControlOptions {
  /** How long a client may take to send a request, to read and to close; by default 10 s. */
  readonly silenceMs?: number
}

/**
 * Serves requests of other programs of the same user on this machine at `DIRECTORY/control.sock`, with permissions 0600; on
 * Windows at a named pipe. If that path is too long for a socket and the system has no shorter one, a file there names a
 * socket in a private directory of `os.tmpdir()`. `handle` must validate the requests. Rejects with OspError `data-locked` if
 * another process serves this directory, `data-format` if another user could replace the directory, and `disk-full` or
 * `internal` if the socket cannot be created. Closing removes the file of the socket.
 */
export async function serveControl(
  directory: string,
  handle: Answering,
  options: ControlOptions = {},
): Promise<Served> {
  checkArgument('serveControl', 'the directory', kinds.path, directory)
  checkArgument('serveControl', 'the handler', kinds.function, handle)
  checkOptions('serveControl', { silenceMs: optional(kinds.delay) }, options)
  const place = await attempt(`checking ${directory}`, () => controlPlace(directory))
  const control = new ControlServer(handle, options.silenceMs ?? controlBounds.silenceMs)
  await control.listen(place)
  return control
}

class ControlServer implements Served {
  readonly [Symbol.asyncDispose] = () => this.close()
  readonly #server = createServer((socket) => this.#accept(socket))
  readonly #handle: Answering
  readonly #silenceMs: number
  readonly #connections = new Set<ControlConnection>()
  #stopListening: () => Promise<void> = async () => void this.#server.close()
  #closing: Promise<void> | undefined

  constructor(handle: Answering, silenceMs: number) {
    this.#handle = handle
    this.#silenceMs = silenceMs
  }

  async listen(place: ControlPlace): Promise<void> {
    try {
      this.#stopListening = await listenAt(this.#server, place)
    } catch (error) {
      await this.close()
      throw error
    }
    // Accepting a client can fail, for example without a free file descriptor. The client notices it.
    this.#server.on('error', () => {})
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  #accept(socket: Socket): void {
    const { connections, refused } = controlBounds
    const others = this.#connections.size
    if (others >= connections + refused) {
      socket.destroy()
      return
    }
    const connection = new ControlConnection(socket, this.#handle, this.#silenceMs)
    this.#connections.add(connection)
    void connection.closed.then(() => this.#connections.delete(connection))
    if (this.#closing) connection.close()
    else if (others >= connections) {
      const text = `${connections} programs are already connected, which is the maximum; retry later`
      connection.fail(new OspError('rate-limited', text))
    }
  }

  async #close(): Promise<void> {
    try {
      await this.#stopListening()
    } finally {
      for (const connection of this.#connections) connection.close()
      await Promise.all([...this.#connections].map(({ closed }) => closed))
    }
  }
}

/** Returns the control of a directory through the control socket of the program that uses it. */
export function directoryControl(directory: string): Control {
  return {
    async serve(answering) {
      await makePath(directory)
      return await serveControl(directory, answering)
    },
    ask: (request, onAnswer, signal) => askControl(directory, request, onAnswer, { signal }),
  }
}

/** The connection of one client of a control socket, which carries one request. */
class ControlConnection {
  /** Resolves when the connection is closed and its handler has ended. */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #handle: Answering
  readonly #silenceMs: number
  readonly #gone = new AbortController()
  readonly #lines = new LineSplitter(controlBounds.requestBytes)
  #phase: 'asking' | 'handling' | 'leaving' = 'asking'
  #handled: Promise<void> = Promise.resolve()
  #deadline: NodeJS.Timeout | undefined

  constructor(socket: Socket, handle: Answering, silenceMs: number) {
    this.#socket = socket
    this.#handle = handle
    this.#silenceMs = silenceMs
    this.closed = new Promise<void>((resolve) => socket.once('close', resolve)).then(() => {
      this.#phase = 'leaving'
      clearTimeout(this.#deadline)
      this.#gone.abort()
      return this.#handled
    })
    this.#within(() => this.fail(new OspError('timed-out', 'no request has arrived')))
    // The `close` event handles a failed connection.
    socket.on('error', () => {})
    socket.on('data', (chunk: Uint8Array) => this.#read(chunk))
    socket.on('end', () => this.#gone.abort())
    // Disconnects a client that does not read.
    socket.setTimeout(silenceMs, () => {
      if (socket.writableLength > 0) socket.destroy()
    })
  }

  fail({ code, message: text }: OspError): void {
    if (this.#phase === 'leaving') return
    this.#write({ error: { code, text } })
    this.#leave()
  }

  /** Closes the connection without waiting for a client that does not read. */
  close(): void {
    const isReading = this.#socket.writableLength === 0
    this.fail(new OspError('shutting-down'))
    if (isReading) this.#socket.destroySoon()
    else this.#socket.destroy()
  }

  #read(chunk: Uint8Array): void {
    if (this.#phase === 'leaving') return
    try {
      for (const line of this.#lines.push(chunk)) {
        if (this.#phase !== 'asking') throw secondRequest()
        const request = requestOf(line)
        clearTimeout(this.#deadline)
        this.#phase = 'handling'
        this.#write({ taken: true })
        this.#handled = this.#run(request)
      }
      if (this.#phase === 'handling' && chunk.at(-1) !== newline) throw secondRequest()
    } catch (error) {
      this.fail(OspError.from(error))
    }
  }

  async #run(request: object): Promise<void> {
    try {
      // A client of a program that was suspended may have disconnected. The end is read after the request.
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#phase !== 'handling') return
      if (this.#gone.signal.aborted) return this.#leave()
      const answered = (answer: unknown) => {
        if (this.#phase === 'handling') this.#write({ answer })
      }
      await this.#handle(request, answered, this.#gone.signal)
      if (this.#phase !== 'handling') return
      this.#write({ done: true })
      this.#leave()
    } catch (error) {
      this.fail(OspError.from(error))
    }
  }

  #write(reply: Reply): void {
    const socket = this.#socket
    if (socket.destroyed || socket.writableEnded) return
    const line = Buffer.from(formatLine(reply))
    if (socket.writableLength + line.length > controlBounds.unsentBytes) socket.destroy()
    else socket.write(line)
  }

  /** Half-closes the socket and discards further bytes. Unread bytes would cause a reset, which can overtake the answer. */
  #leave(): void {
    this.#phase = 'leaving'
    this.#gone.abort()
    this.#socket.end()
    this.#within(() => this.#socket.destroy())
  }

  #within(overdue: () => void): void {
    clearTimeout(this.#deadline)
    if (!this.#socket.destroyed) this.#deadline = setTimeout(overdue, this.#silenceMs)
  }
}

const newline = 10

const secondRequest = () => new OspError('malformed', 'a connection carries one request')

export interface AskOptions {
  /** Aborts the request. The server notices it. */
  readonly signal?: AbortSignal | undefined
  /** How long the server may take to confirm that it has received the request; by default 10 s. */
  readonly silenceMs?: number
}

/**
 * Sends a request, a JSON object, to the program that serves the control socket of a directory. Calls `onAnswer` with each
 * answer. Resolves with the last answer, or `undefined` if there is none. Rejects with OspError `unreachable` if no program
 * listens there or the directory does not exist, `timed-out` if the program does not confirm the request, `link-lost` if it
 * disconnects before the last answer, `closed` if `signal` aborts, and with the error that it answers.
 */
export async function askControl(
  directory: string,
  request: object,
  onAnswer: (answer: unknown) => void = () => {},
  options: AskOptions = {},
): Promise<unknown> {
  checkArgument('askControl', 'the directory', kinds.path, directory)
  checkArgument('askControl', 'the request', kinds.object, request)
  checkArgument('askControl', 'the handler of answers', kinds.function, onAnswer)
  checkOptions('askControl', { signal: optional(kinds.signal), silenceMs: optional(kinds.delay) }, options)
  const { signal, silenceMs = controlBounds.silenceMs } = options
  const line = formatLine(request)
  if (Buffer.byteLength(line) > controlBounds.requestBytes) throw new OspError('too-large', 'the request is too long')
  const failed = (error: unknown): never => {
    throw error instanceof OspError ? error : unreachable('connect', directory, error)
  }
  using at = await socketOf(directory).catch(failed)
  const socket = connect({ path: at.path })
  // The write can fail after `connect` is emitted and before the replies are read. The replies then end.
  socket.on('error', () => {})
  socket.write(line)
  const silent = `the program that uses ${directory} does not answer; check whether it is suspended`
  const silence = setTimeout(() => socket.destroy(new OspError('timed-out', silent)), silenceMs)
  const giveUp = () => socket.destroy(new OspError('closed', 'the request was aborted'))
  using _aborted = signal && onAbort(signal, giveUp)
  try {
    await once(socket, 'connect').catch(failed)
    let last: unknown
    for await (const reply of repliesOf(socket)) {
      clearTimeout(silence)
      if ('error' in reply) throw readError(reply.error)
      if ('done' in reply) return last
      if (!('answer' in reply)) continue
      last = reply.answer
      onAnswer(last)
    }
    throw new OspError('link-lost', `the program that uses ${directory} has disconnected`)
  } finally {
    clearTimeout(silence)
    socket.destroy()
  }
}

async function socketOf(directory: string): Promise<SocketPath> {
  const { path, folder } = await controlPlace(directory)
  return folder === undefined ? fixedPath(path) : await socketAt(path)
}

async function* repliesOf(socket: AsyncIterable<Uint8Array>): AsyncGenerator<Reply> {
  const lines = new LineSplitter(controlBounds.unsentBytes)
  try {
    for await (const chunk of socket) {
      for (const line of lines.push(chunk)) yield replyOf(line)
    }
  } catch (error) {
    // An error of the system means that the program has disconnected.
    if (error instanceof OspError) throw error
  }
}
