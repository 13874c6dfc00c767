import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import { codeOf, type ErrorCode } from '../../lib/errors.ts'
import { fixed } from '../../lib/limits.ts'
import { encodeFrame, type Frame, FrameReader } from '../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../lib/wire/message.ts'
import { frameFor } from './frames.ts'

const { crc32 } = nodePlatform()

/** Returns the bytes of a frame that carries `message`; `change` overrides fields of the header. */
export function bytesOf(message: WireMessage, seq = 1, instance = 0, change: Partial<Frame> = {}): Buffer {
  return Buffer.concat(encodeFrame({ ...frameFor(message, seq, instance), ...change }, crc32))
}

/** Returns the bytes of a HELLO_REQ. */
export function helloBytes(session = 'hostile', user = 'mallory', seq = 1, token = ''): Buffer {
  const id = new Uint8Array(16)
  new TextEncoder().encodeInto(session, id)
  const fields = { versions: [1], userName: user, token, session: id, software: 'raw', features: 0, attempt: undefined }
  return bytesOf({ event: 'HelloReq', ...fields }, seq)
}

/** A TCP connection to a server that sends any bytes, and keeps the frames it receives. */
export class RawStream implements AsyncDisposable {
  readonly stream: Socket
  readonly came: WireMessage[] = []
  /** Resolves when the server has ended the connection in any way. */
  readonly ended: Promise<void>
  over = false
  #look: () => void = () => {}

  private constructor(stream: Socket) {
    this.stream = stream
    const reader = new FrameReader(crc32, fixed.clientFrameBytes)
    stream.on('data', (bytes) => {
      for (const frame of reader.push({ bytes })) this.came.push(decode(frame))
      this.#look()
    })
    // Data written to a server that is gone is answered with a reset.
    stream.on('error', () => {})
    this.ended = new Promise((resolve) => {
      const end = () => {
        this.over = true
        this.#look()
        resolve()
      }
      stream.on('end', end).on('close', end)
    })
  }

  /** Connects from an address of this machine. */
  static async connect(port: number, localAddress = '127.0.0.1'): Promise<RawStream> {
    const stream = connect({ port, host: '127.0.0.1', localAddress, noDelay: true, allowHalfOpen: true })
    await once(stream, 'connect')
    return new RawStream(stream)
  }

  /** Connects and logs in. */
  static async letIn(port: number, session?: string, user?: string): Promise<RawStream> {
    const raw = await RawStream.connect(port)
    await raw.write(helloBytes(session, user))
    await raw.until('HelloAck')
    return raw
  }

  /** Resolves when the system has accepted the bytes, or the server has ended the connection. */
  async write(bytes: Uint8Array): Promise<void> {
    // A stream that is being destroyed accepts everything immediately.
    if (this.over || this.stream.destroyed) return this.ended
    const taken = new Promise<void>((resolve) => this.stream.write(bytes, () => resolve()))
    await Promise.race([taken, this.ended])
  }

  /** Resolves with the first frame of this event. */
  async until<K extends WireMessage['event']>(event: K): Promise<WireMessage<K>> {
    for (;;) {
      const found = this.came.find((message) => message.event === event)
      if (found) return found as WireMessage<K>
      assert.ok(
        !this.over,
        `the link ended before ${event} arrived, after ${this.came.map((message) => message.event)}`,
      )
      await new Promise<void>((resolve) => {
        this.#look = resolve
      })
    }
  }

  /** Resolves when this many frames have arrived, or the link has ended. */
  async amount(frames: number): Promise<void> {
    while (this.came.length < frames && !this.over) {
      await new Promise<void>((resolve) => {
        this.#look = resolve
      })
    }
  }

  /** Resolves with the text of GOODBYE when the server has ended the link with this code. */
  async dismissed(code: ErrorCode): Promise<string> {
    const goodbye = await this.until('GoodbyeNtf')
    assert.equal(codeOf(goodbye.code), code, goodbye.text)
    await this.ended
    return goodbye.text
  }

  /** Ends the sending side; data from the server is still read. */
  end(): void {
    this.stream.end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stream.destroy()
    await this.ended
  }
}
