import { createServer, type Server, type Socket } from 'node:net'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import { attempt } from '../disk/faults.ts'
import { controlBounds } from './bounds.ts'
import { ControlConnection, type HandleControl } from './connection.ts'
import { listenAt } from './listening.ts'
import { controlPlace } from './place.ts'

export { type AskOptions, askControl } from './asking.ts'
export type { HandleControl } from './connection.ts'

export interface ControlOptions {
  /** How long a client may take to ask, to read and to close; 10 s by default. */
  readonly silenceMs?: number
}

/** An open control socket. */
export interface ControlSocket extends AsyncDisposable {
  /** Ends all connections, removes the socket's file, and resolves when every handler has ended. Idempotent. */
  close(): Promise<void>
}

/**
 * Serves requests of other programs of the same user on this machine, which find it by the directory: at
 * `DIRECTORY/control.sock`, with rights 0600; on Windows it is a named pipe. If that path is too long for a socket and the
 * system has no shorter one, a file there names a socket in a private directory of `os.tmpdir()`. `handle` has to check what
 * it is asked. Rejects with OspError `data-locked` if another process serves this directory, `data-format` if another user
 * could replace the directory, `disk-full` or `internal` if the socket can't be made.
 */
export async function serveControl(
  directory: string,
  handle: HandleControl,
  options: ControlOptions = {},
): Promise<ControlSocket> {
  checkArgument('serveControl', 'the directory', kinds.path, directory)
  checkArgument('serveControl', 'the handler', kinds.function, handle)
  checkOptions('serveControl', { silenceMs: optional(kinds.delay) }, options)
  const { silenceMs = controlBounds.silenceMs } = options
  const place = await attempt(`looking at ${directory}`, () => controlPlace(directory))
  const server = createServer()
  const control = new RunningControl(server, handle, silenceMs)
  server.on('connection', (socket) => control.accept(socket))
  try {
    control.stopListening = await listenAt(server, place)
  } catch (error) {
    await control.close()
    throw error
  }
  // Accepting one client can fail (no file descriptor is free): that client sees it.
  server.on('error', () => {})
  return control
}

class RunningControl implements ControlSocket {
  stopListening: () => Promise<void>
  readonly #handle: HandleControl
  readonly #silenceMs: number
  readonly #connections = new Set<ControlConnection>()
  #closing: Promise<void> | undefined

  constructor(server: Server, handle: HandleControl, silenceMs: number) {
    this.stopListening = async () => void server.close()
    this.#handle = handle
    this.#silenceMs = silenceMs
  }

  accept(socket: Socket): void {
    const { connections, refused } = controlBounds
    const others = this.#connections.size
    if (others >= connections + refused) {
      socket.destroy()
      return
    }
    const connection = new ControlConnection(socket, this.#handle, this.#silenceMs)
    this.#connections.add(connection)
    void connection.closed.then(() => this.#connections.delete(connection))
    if (this.#closing) connection.close(new OspError('shutting-down'))
    else if (others >= connections) {
      connection.fail(new OspError('rate-limited', `${connections} programs ask already, as many as are served`))
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    try {
      await this.stopListening()
    } finally {
      for (const connection of this.#connections) connection.close(new OspError('shutting-down'))
      await Promise.all([...this.#connections].map(({ closed }) => closed))
    }
  }
}
