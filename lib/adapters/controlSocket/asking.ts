import { connect, type Socket } from 'node:net'
import { OspError } from '../../errors.ts'
import { checkArgument, checkOptions, kinds, optional } from '../../options.ts'
import { unreachable } from '../net/addresses.ts'
import { controlBounds, formatLine, LineSplitter, readError, replyOf } from './lines.ts'
import { controlPlace, type SocketPath, socketAt } from './place.ts'

export interface AskOptions {
  /** Gives up, which the other side sees. */
  readonly signal?: AbortSignal
  /** How long the other side may take to say that it has taken the request; 10 s by default. */
  readonly silenceMs?: number
}

/**
 * Sends a request, one JSON object, to the program that serves the control socket of a directory. Each answer goes to
 * `onAnswer`; resolves with the last one, `undefined` if there was none. Rejects with OspError `unreachable` if nobody
 * listens there, also where there is no such directory; `timed-out` if it does not take the request; `link-lost` if it
 * goes away before it has answered all; `closed` if `signal` aborts; and with the error that it answers.
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
  if (signal?.aborted) throw new OspError('closed', 'the request was given up')
  const socket = connect({ path: at.path })
  socket.write(line)
  const silence = setTimeout(() => socket.destroy(silent(directory)), silenceMs)
  const giveUp = () => socket.destroy(new OspError('closed', 'the request was given up'))
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    return await answersOf(
      socket,
      directory,
      (answer) => onAnswer(answer),
      () => clearTimeout(silence),
    )
  } finally {
    clearTimeout(silence)
    signal?.removeEventListener('abort', giveUp)
    socket.destroy()
  }
}

async function socketOf(directory: string): Promise<SocketPath> {
  try {
    const { path, folder } = await controlPlace(directory)
    return folder === undefined ? { path, [Symbol.dispose]() {} } : await socketAt(path)
  } catch (error) {
    throw error instanceof OspError ? error : unreachable('connect', directory, error)
  }
}

/** Resolves with the last answer at `done`. */
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
    socket.on('close', () => reject(new OspError('link-lost', `the program that has ${directory} open went away`)))
  })
}

const silent = (directory: string) =>
  new OspError('timed-out', `the program that has ${directory} open does not answer; look whether it is stopped`)
