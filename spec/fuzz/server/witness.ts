import assert from 'node:assert/strict'
import { codeOf } from '../../../lib/errors.ts'
import { fixed } from '../../../lib/limits.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import { FrameReader } from '../../../lib/wire/frame.ts'
import { decode, type WireMessage } from '../../../lib/wire/message.ts'
import { decodeBody } from '../../../lib/wire/messageBody.ts'
import { registFlags } from '../../../lib/wire/protocol.ts'
import type { FakeStream } from '../../support/fakeStream.ts'
import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { bodyOf } from '../../support/messageClient.ts'
import { bytesOf, helloBytes } from '../../support/rawStream.ts'
import type { Until } from './stage.ts'

export const witnessName = 'witness'
const content = patterned(3_000, 77)
const chunkBytes = 300

/** A well-behaved client with one upload and one message, which proceed step by step. */
export class Witness {
  readonly #stream: FakeStream
  readonly #reader: FrameReader
  readonly #until: Until
  readonly #came: WireMessage[] = []
  #read = 0
  #seq = 0
  #sent = 0
  #fileInstance = 0
  #messageInstance = 0

  private constructor(stream: FakeStream, platform: Platform, until: Until) {
    this.#stream = stream
    this.#reader = new FrameReader(platform.crc32, fixed.clientFrameBytes)
    this.#until = until
  }

  /** Resolves when it has logged in, listens, and has begun its upload: it has the first instance of both apps. */
  static async enter(stream: FakeStream, platform: Platform, until: Until): Promise<Witness> {
    const witness = new Witness(stream, platform, until)
    stream.hear(helloBytes('witness', witnessName, ++witness.#seq))
    await witness.#answer('HelloAck')
    witness.#say({ event: 'RegistReq', userName: witnessName, flags: registFlags.listening })
    witness.#messageInstance = (await witness.#answer('RegistAck')).instance
    const upload = { fileName: 'seen', size: content.length, modifiedAt: 1, digest: 2 }
    witness.#say({ event: 'StartPostFileReq', ...upload })
    witness.#fileInstance = (await witness.#answer('StartPostFileAck')).instance
    return witness
  }

  /** Sends its next chunk, except the last one. */
  step(): void {
    this.look()
    if (this.#sent + chunkBytes < content.length) this.#sendChunk()
  }

  /** Ends its upload, and sends itself a message; resolves with the bytes that must be stored. */
  async finish(): Promise<Uint8Array> {
    while (this.#sent < content.length) this.#sendChunk()
    this.#say({ event: 'FileMd5Req', digest: sha256(content) }, this.#fileInstance)
    await this.#answer('FileMd5Ack')
    const messageId = new Uint8Array(16).fill(7)
    const message = { messageId, recipients: [witnessName], body: bodyOf(content) }
    this.#say({ event: 'PostMsgReq', messages: [message] }, this.#messageInstance)
    await this.#answer('PostMsgAck')
    const { messages } = await this.#answer('DeliverMsgReq')
    const delivered = messages.map(({ sender, body }) => [sender, Buffer.from(decodeBody(body).content)])
    assert.deepEqual(delivered, [[witnessName, Buffer.from(content)]])
    return content
  }

  leave(): void {
    this.#stream.hearEnd()
  }

  /** Reads received frames, none of which may be a refusal. */
  look(): void {
    const { wrote } = this.#stream
    for (; this.#read < wrote.length; this.#read++) {
      for (const frame of this.#reader.push({ bytes: wrote[this.#read] ?? new Uint8Array(0) })) {
        const message = decode(frame)
        assert.ok(!('code' in message), `the witness received ${'code' in message && codeOf(message.code)}`)
        if (message.event === 'DeliverMsgReq') {
          const { mailboxSeq = 0 } = message.messages.at(-1) ?? {}
          this.#stream.hear(bytesOf({ event: 'DeliverMsgAck', mailboxSeq, rejected: [] }, frame.seq))
        }
        this.#came.push(message)
      }
    }
    assert.ok(!this.#stream.destroyed, 'the link of the witness was ended')
  }

  #sendChunk(): void {
    const piece = content.subarray(this.#sent, this.#sent + chunkBytes)
    this.#say({ event: 'PostFileReq', progress: this.#sent, content: [piece] }, this.#fileInstance)
    this.#sent += piece.length
  }

  #say(message: WireMessage, instance = 0): void {
    this.#stream.hear(bytesOf(message, ++this.#seq, instance))
  }

  async #answer<K extends WireMessage['event']>(event: K): Promise<WireMessage<K>> {
    const find = () => this.#came.find((message) => message.event === event)
    await this.#until(`the witness is answered by ${event}`, () => {
      this.look()
      return find() !== undefined
    })
    return find() as WireMessage<K>
  }
}
