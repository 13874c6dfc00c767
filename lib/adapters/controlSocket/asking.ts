import { connect, type Socket } from 'node:net'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import { unreachable } from '../net/addresses.ts'
import { controlBounds, formatLine, LineSplitter, readError, replyOf } from './lines.ts'
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
  using at = await socketOf(directory)
  if (signal?.aborted) throw new OspError('closed', 'the request was aborted')
  const socket = connect({ path: at.path })
  socket.write(line)
  const silence = setTimeout(() => socket.destroy(silent(directory)), silenceMs)
  const giveUp = () => socket.destroy(new OspError('closed', 'the request was aborted'))
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    return await answersOf(socket, directory, onAnswer, () => clearTimeout(silence))
  } finally {
    clearTimeout(silence)
    signal?.removeEventListener('abort', giveUp)
    socket.destroy()
  }
}

async function socketOf(directory: string): Promise<SocketPath> {
  try {
    const { path, folder } = await controlPlace(directory)
    return folder === undefined ? fixedPath(path) : await socketAt(path)
  } catch (error) {
    throw error instanceof OspError ? error : unreachable('connect', directory, error)
  }
}

/** Resolves with the last answer when the reply `done` arrives. */
function answersOf(
  socket: Socket,
  directory: string,
  onAnswer: (answer: unknown) => void,
  onTaken: () => void,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const lines = new LineSplitter(controlBounds.unsentBytes)
    let last: unknown
    let isConnected = false
    const read = (line: string) => {
      const reply = replyOf(line)
      onTaken()
      if ('error' in reply) throw readError(reply.error)
      if ('done' in reply) resolve(last)
      if (!('answer' in reply)) return
      last = reply.answer
      onAnswer(last)
    }
    socket.on('data', (chunk: Uint8Array) => {
      try {
        for (const line of lines.push(chunk)) read(line)
      } catch (error) {
        reject(error)
      }
    })
    socket.on('connect', () => {
      isConnected = true
    })
    socket.on('error', (error) => {
      if (error instanceof OspError) reject(error)
      else if (!isConnected) reject(unreachable('connect', directory, error))
    })
    socket.on('close', () => reject(new OspError('link-lost', `the program that uses ${directory} has disconnected`)))
  })
}

const silent = (directory: string) =>
  new OspError('timed-out', `the program that uses ${directory} does not answer; check whether it is suspended`)
