import type { Socket } from 'node:net'
import { OspError } from '../../errors.ts'
import { controlBounds } from './bounds.ts'
import { Lines, lineOf, type Reply, requestOf, toldError } from './lines.ts'

/**
 * Carries out a request. Its answers go to `reply`, at once; what it rejects with is the last one. `signal` aborts when
 * the client is gone, or the socket is being closed: then it has to end.
 */
export type HandleControl = (
  request: unknown,
  reply: (answer: unknown) => void,
  signal: AbortSignal,
) => Promise<void> | void

/** One client of a control socket: its request is awaited, handled, and then it is left. */
export class ControlConnection {
  /** Resolves when nothing of it is left, its handler included. */
  readonly closed: Promise<void>
  readonly #socket: Socket
  readonly #handle: HandleControl
  readonly #silenceMs: number
  readonly #gone = new AbortController()
  readonly #lines = new Lines(controlBounds.requestBytes)
  #phase: 'asking' | 'handling' | 'leaving' = 'asking'
  #handled: Promise<void> = Promise.resolve()
  #deadline: NodeJS.Timeout | undefined

  constructor(socket: Socket, handle: HandleControl, silenceMs: number) {
    this.#socket = socket
    this.#handle = handle
    this.#silenceMs = silenceMs
    this.closed = new Promise<void>((resolve) => socket.once('close', resolve)).then(() => this.#closed())
    this.#within(() => this.fail(new OspError('timed-out', 'no request has come')))
    // It is closed then, which is all that there is to know.
    socket.on('error', () => {})
    socket.on('data', (chunk: Uint8Array) => this.#read(chunk))
    socket.on('end', () => this.#gone.abort())
    // Nothing has moved for so long.
    socket.setTimeout(silenceMs, () => {
      if (socket.writableLength > 0) socket.destroy()
    })
  }

  /** Tells why, and leaves. */
  fail(why: OspError): void {
    if (this.#phase === 'leaving') return
    this.#write(toldError(why))
    this.#leave()
  }

  /** Ends it for good: who does not read is not waited for. */
  close(why: OspError): void {
    const takes = this.#socket.writableLength === 0
    this.fail(why)
    if (takes) this.#socket.destroySoon()
    else this.#socket.destroy()
  }

  #read(chunk: Uint8Array): void {
    if (this.#phase === 'leaving') return
    try {
      for (const line of this.#lines.push(chunk)) this.#take(line)
      if (this.#phase === 'handling' && chunk.at(-1) !== newline) throw secondRequest()
    } catch (error) {
      this.fail(OspError.from(error))
    }
  }

  #take(line: string): void {
    if (this.#phase !== 'asking') throw secondRequest()
    const request = requestOf(line)
    clearTimeout(this.#deadline)
    this.#phase = 'handling'
    this.#write({ taken: true })
    this.#handled = this.#run(request)
  }

  async #run(request: object): Promise<void> {
    try {
      // Who has asked a stopped program may have left long ago, which is read behind the request.
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#phase !== 'handling') return
      if (this.#gone.signal.aborted) return this.#leave()
      await this.#handle(request, (answer) => this.#answer(answer), this.#gone.signal)
      if (this.#phase !== 'handling') return
      this.#write({ done: true })
      this.#leave()
    } catch (error) {
      this.fail(OspError.from(error))
    }
  }

  #answer(answer: unknown): void {
    if (this.#phase === 'handling') this.#write({ answer })
  }

  #write(reply: Reply): void {
    const socket = this.#socket
    if (socket.destroyed || socket.writableEnded) return
    const line = Buffer.from(lineOf(reply))
    if (socket.writableLength + line.length > controlBounds.unsentBytes) socket.destroy()
    else socket.write(line)
  }

  /** Half-closes and reads on without looking: unread bytes would be answered with a reset, which can overtake the answer. */
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

  async #closed(): Promise<void> {
    this.#phase = 'leaving'
    clearTimeout(this.#deadline)
    this.#gone.abort()
    await this.#handled
  }
}

const newline = 10

const secondRequest = () => new OspError('malformed', 'a connection carries one request')
