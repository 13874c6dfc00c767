import assert from 'node:assert/strict'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { codeOf, type ErrorCode, type OspError } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import type { Platform } from '../../lib/ports/platform.ts'
import type { Socket, Transport } from '../../lib/ports/socket.ts'
import type { Frame } from '../../lib/wire/frame.ts'
import {
  decode,
  type EventName,
  encode,
  type NackName,
  type NoticeName,
  type WireMessage,
} from '../../lib/wire/message.ts'
import { apps, events } from '../../lib/wire/protocol.ts'

type FieldsOf<K extends EventName> = Omit<Extract<WireMessage, { event: K }>, 'event'>
type Told<K extends EventName> = Extract<WireMessage, { event: K }>
type Refusal = Told<NackName | 'GoodbyeNtf'>

/** The default HELLO_REQ of specs. */
export interface Greeting {
  readonly versions?: readonly number[]
  readonly user?: string
  readonly token?: string
  /** Padded to 16 bytes. */
  readonly session?: string
  readonly attempt?: number
  readonly features?: number
}

/** A client without logic: it sends the given frames, and returns the received frames in order. */
export class RawClient {
  readonly socket: Socket
  /** Resolves when the link has ended. */
  readonly closed: Promise<OspError | undefined>
  readonly #came: Frame[] = []
  #awake: () => void = () => {}
  #ended = false
  #seq = 0
  /** The frame that was read last. */
  last: Frame | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    this.closed = new Promise((resolve) => {
      socket.start({
        frame: (frame) => this.#take(frame),
        begun: () => {},
        fault: () => socket.destroy(),
        drained: () => {},
        closed: (why) => {
          this.#ended = true
          this.#awake()
          resolve(why)
        },
      })
    })
  }

  static async dial(to: Transport, platform: Platform = nodePlatform()): Promise<RawClient> {
    const options = { platform, maxPayload: fixed.clientFrameBytes }
    return new RawClient(await to.dial(options, new AbortController().signal))
  }

  /** Sends an event; returns its seq. `frame` overrides fields of the header. */
  send<K extends EventName>(event: K, fields: FieldsOf<K>, instance = 0, frame: Partial<Frame> = {}): number {
    const { number, app, kind } = events[event]
    const seq = kind === 'request' ? ++this.#seq : 0
    const payload = encode({ event, ...fields } as unknown as WireMessage)
    this.socket.send({ version: 1, flags: 0, event: number, seq, app: apps[app], instance, payload, ...frame })
    return frame.seq ?? seq
  }

  hello({ versions = [1], user = 'alice', token = '', session = 'one', attempt, features = 0 }: Greeting = {}): number {
    const bytes = new Uint8Array(16)
    new TextEncoder().encodeInto(session, bytes)
    const who = { userName: user, token, session: bytes, attempt }
    return this.send('HelloReq', { versions, ...who, software: 'spec', features })
  }

  /** Resolves with the next frame; rejects if the link ends before. */
  async next(): Promise<Told<EventName>> {
    for (;;) {
      const first = this.#came.shift()
      if (first) {
        this.last = first
        return decode(first) as Told<EventName>
      }
      if (this.#ended) throw new Error('the link ended before another frame arrived')
      await new Promise<void>((resolve) => {
        this.#awake = resolve
      })
    }
  }

  /** Resolves with the next frame, which must be this event. */
  async expect<K extends EventName>(event: K): Promise<Told<K>> {
    const message = await this.next()
    assert.equal(message.event, event, `expected ${event}, received ${shown(message)}`)
    return message as Told<K>
  }

  /** Resolves with the next frame, which must be a NACK (or the GOODBYE) of this code. */
  async refused<K extends NackName | NoticeName>(event: K, code: ErrorCode): Promise<Told<K>> {
    const message = await this.expect(event)
    assert.equal(codeOf((message as Refusal).code), code, `${code} was expected, ${shown(message)} came`)
    return message
  }

  /** Resolves when the link ends, after a GOODBYE of this code. */
  async dismissed(code: ErrorCode): Promise<Told<'GoodbyeNtf'>> {
    const goodbye = await this.refused('GoodbyeNtf', code)
    await this.closed
    return goodbye
  }

  /** Frames that have arrived and were not read yet. */
  get unread(): readonly EventName[] {
    return this.#came.map((frame) => decode(frame).event)
  }

  /** Ends the link without GOODBYE; resolves when this side has noticed. */
  async vanish(): Promise<void> {
    this.socket.destroy()
    await this.closed
  }

  #take(frame: Frame): void {
    this.#came.push(frame)
    this.#awake()
  }
}

function shown(message: Told<EventName>): string {
  const code = 'code' in message ? ` (${codeOf(message.code)}: ${message.text})` : ''
  return `${message.event}${code}`
}
