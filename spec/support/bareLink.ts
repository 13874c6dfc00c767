import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { headerBytes } from '../../lib/wire/frame.ts'
import { decode, type EventName, type WireMessage } from '../../lib/wire/message.ts'
import { events } from '../../lib/wire/protocol.ts'
import { bytesOf, helloBytes } from './rawStream.ts'

/** A server under benchmark. */
export interface Target {
  readonly port: number
  /** Token of each user; absent if the server has no users. */
  readonly tokens: Readonly<Record<string, string>>
}

/** The frame to send for a seq. */
export type Make = (seq: number) => Buffer

interface Origin {
  /** Last number of the local address, 127.0.0.`from`. */
  readonly from?: number
  readonly session?: string
}

const requests = new Set(Object.values(events).flatMap((row) => (row.kind === 'request' ? [row.number] : [])))

/** A frame that has arrived, decoded only on request. */
export interface ReceivedFrame {
  readonly event: number
  readonly seq: number
  readonly message: () => WireMessage
}

/**
 * A client with little overhead: it writes bytes, counts replies, and decodes only on request. It answers no PING_REQ
 * and no delivery.
 */
export class BareLink {
  readonly stream: Socket
  /** Resolves when the link has ended. */
  readonly gone: Promise<void>
  over = false
  /** Replies that all links of this process have read. */
  static answered = 0
  /** Unanswered requests. */
  unanswered = 0
  seq = 1
  took: (came: ReceivedFrame) => void = () => {}
  readonly #waiting = new Set<(came: ReceivedFrame | undefined) => void>()
  #rest: Buffer = Buffer.alloc(0)
  #look: () => void = () => {}

  constructor(port: number, from = 1) {
    this.stream = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${from}`, noDelay: true })
    this.stream.on('error', () => {})
    this.stream.on('data', (bytes) => this.#read(bytes))
    this.gone = new Promise((resolve) => {
      this.stream.on('close', () => {
        this.over = true
        for (const wake of this.#waiting) wake(undefined)
        this.#look()
        resolve()
      })
    })
  }

  /** Opens a link and sends HELLO. Resolves with `undefined` if the server refuses it. */
  static async letIn(
    { port, tokens }: Target,
    user: string,
    { from = 1, session = user }: Origin = {},
  ): Promise<BareLink | undefined> {
    const link = new BareLink(port, from)
    await Promise.race([once(link.stream, 'connect').catch(() => {}), link.gone])
    const answer = link.next()
    link.stream.write(helloBytes(session, user, 1, tokens[user] ?? ''))
    link.unanswered++
    const came = await answer
    if (came?.event === events.HelloAck.number) return link
    link.stream.destroy()
    return undefined
  }

  /** Resolves with the next frame, or the next one of this event; with `undefined` when the link has ended. */
  next(event?: EventName): Promise<ReceivedFrame | undefined> {
    return new Promise((resolve) => {
      const look = (came: ReceivedFrame | undefined) => {
        if (came && event && came.event !== events[event].number) return
        this.#waiting.delete(look)
        resolve(came)
      }
      if (this.over) resolve(undefined)
      else this.#waiting.add(look)
    })
  }

  /** Sends one request. */
  ask(make: Make): void {
    this.unanswered++
    this.stream.write(make(++this.seq))
  }

  /** Sends one request. Resolves with its reply, or with `undefined` when the link has ended. */
  async reply(make: Make): Promise<ReceivedFrame | undefined> {
    this.ask(make)
    const { seq } = this
    for (;;) {
      const came = await this.next()
      if (!came || (came.seq === seq && !requests.has(came.event))) return came
    }
  }

  /**
   * Sends requests as fast as the server reads and answers them, with up to `most` unanswered, until the link ends or
   * `signal` aborts.
   */
  async flood(make: Make, signal: AbortSignal, most = 480): Promise<void> {
    while (!this.over && !this.stream.destroyed && !signal.aborted) {
      const batch: Buffer[] = []
      while (this.unanswered + batch.length < most && batch.length < 200) batch.push(make(++this.seq))
      this.unanswered += batch.length
      const bytes = Buffer.concat(batch)
      if (bytes.length > 0 && !this.stream.write(bytes)) {
        await Promise.race([once(this.stream, 'drain').catch(() => {}), this.gone])
      }
      while (this.unanswered >= most && !this.over) await this.#change()
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#look = resolve
    })
  }

  #read(bytes: Buffer): void {
    let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, bytes]) : bytes
    while (data.length >= headerBytes) {
      const end = headerBytes + data.readUInt32BE(0)
      if (data.length < end) break
      this.#take(data.subarray(0, end))
      data = data.subarray(end)
    }
    this.#rest = Buffer.from(data)
    this.#look()
  }

  #take(bytes: Buffer): void {
    const event = bytes.readUInt16BE(6)
    const seq = bytes.readUInt32BE(8)
    const message = () => decode({ event, app: bytes.readUInt16BE(12), payload: [bytes.subarray(headerBytes)] })
    if (seq > 0 && !requests.has(event)) {
      this.unanswered--
      BareLink.answered++
    }
    const came = { event, seq, message }
    for (const look of this.#waiting) look(came)
    this.took(came)
  }
}

/** Makes requests that differ only in their seq. */
export const same =
  (message: WireMessage, instance = 0): Make =>
  (seq) =>
    bytesOf(message, seq, instance)
