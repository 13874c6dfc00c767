import { once } from 'node:events'
import { connect } from 'node:net'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import { onAbort } from '../../runtime/wait.ts'
import { unreachable } from '../net/addresses.ts'
import { controlBounds, formatLine, LineSplitter, type Reply, readError, replyOf } from './lines.ts'
import { controlPlace, fixedPath, type SocketPath, socketAt } from './place.ts'

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

/** Yields the replies until the program disconnects. */
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
