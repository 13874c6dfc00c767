import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tcp } from '../../lib/adapters/net/tcp.ts'
import { nodePlatform } from '../../lib/adapters/node/nodePlatform.ts'
import type { BoundClientOptions, Client } from '../../lib/client/client.ts'
import { RunningClient } from '../../lib/client/runningClient.ts'
import { type ErrorCode, numberOf } from '../../lib/errors.ts'
import type { Transport } from '../../lib/ports/socket.ts'
import { lengthOf } from '../../lib/wire/codec.ts'
import { type Frame, FrameReader } from '../../lib/wire/frame.ts'
import { decode, type EventName, type WireMessage } from '../../lib/wire/message.ts'
import { bytesOf } from './rawStream.ts'

const { crc32, clock, random, digests } = nodePlatform()

/** The requests that a hostile server has received, and the ways to answer them. */
export interface ReceivedRequest {
  readonly message: WireMessage
  readonly frame: Frame
  /** Answers with the seq and instance of the request. */
  reply(message: WireMessage, change?: Partial<Frame>): void
  /** Sends an unsolicited frame. */
  say(message: WireMessage, seq: number, instance?: number): void
  write(bytes: Uint8Array): void
  readonly stream: Socket
}

/** Answers a request in any way; resolves with true if the well-behaved answer is to be sent. */
export type Act = (heard: ReceivedRequest) => boolean | undefined

export interface HostileServer extends AsyncDisposable {
  readonly to: Transport
  readonly port: number
  /** Number of received requests of each event, and number of links. */
  readonly heard: Map<EventName, number>
  readonly dialled: number
  count(event: EventName): number
  /** Creates a client of it. */
  client(options?: Partial<BoundClientOptions>): Client
}

export const welcome: WireMessage<'HelloAck'> = {
  event: 'HelloAck',
  version: 1,
  node: 1,
  bootId: new Uint8Array(16),
  maxFrame: 1_100_000,
  // Longer than any spec runs.
  keepAlive: 3_600_000,
  maxUploads: 5,
  maxRecipients: 16,
  features: 0,
  messageIdFor: 1_000,
  maxPut: undefined,
}

export const granted: WireMessage<'ContinuePostFileAck'> = {
  event: 'ContinuePostFileAck',
  instance: 1,
  progress: 0,
  chunk: 10_000,
  window: 100_000,
  checkpoint: 0,
  checkpointDigest: new Uint8Array(),
}

/** Makes a NACK of this code. */
export function nack<K extends EventName>(event: K, code: ErrorCode, more: object = {}): WireMessage {
  return { event, code: numberOf(code), retryAfter: 0, text: '', progress: 0, ...more } as unknown as WireMessage
}

/** The answers of a server that accepts everything and stores nothing. */
function politely({ message, frame, reply }: ReceivedRequest): void {
  const { event } = message
  if (event === 'HelloReq') reply(welcome)
  else if (event === 'PingReq') reply({ event: 'PingAck', listVersion: 0 })
  else if (event === 'ContinuePostFileReq') reply({ ...granted, instance: frame.seq })
  else if (event === 'StartPostFileReq') {
    const { instance, progress, chunk, window } = granted
    reply({ event: 'StartPostFileAck', instance, progress, chunk, window })
  } else if (event === 'PostFileReq') {
    const progress = message.progress + lengthOf(message.content)
    reply({ event: 'PostFileAck', progress, durable: progress })
  } else if (event === 'FileMd5Req') reply({ event: 'FileMd5Ack', storedName: 'stored', replaced: 0 })
  else if (event === 'PauseFileReq') reply({ event: 'PauseFileAck', progress: 0, durable: 0 })
}

/** A server on loopback that answers by `act`, or in the well-behaved way if that returns true. */
export async function hostileServer(act: Act): Promise<HostileServer> {
  const streams = new Set<Socket>()
  const heard = new Map<EventName, number>()
  const clients: Client[] = []
  let dialled = 0
  const server = createServer({ noDelay: true }, (stream) => {
    dialled++
    streams.add(stream)
    const reader = new FrameReader(crc32, 4_000_000)
    stream.on('error', () => {}).on('close', () => streams.delete(stream))
    stream.on('data', (bytes) => {
      for (const frame of reader.push({ bytes })) {
        const message = decode(frame)
        heard.set(message.event, (heard.get(message.event) ?? 0) + 1)
        const write = (bytes: Uint8Array) => void (stream.writable && stream.write(bytes))
        const told: ReceivedRequest = {
          message,
          frame,
          write,
          stream,
          reply: (answer, change) => write(bytesOf(answer, frame.seq, frame.instance, change)),
          say: (answer, seq, instance) => write(bytesOf(answer, seq, instance)),
        }
        if (act(told)) politely(told)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const to = tcp({ port })
  return {
    to,
    port,
    heard,
    get dialled() {
      return dialled
    },
    count: (event) => heard.get(event) ?? 0,
    client(options = {}) {
      const platform = { crc32, clock, digests, random: { ...random, fraction: () => 0.5 } }
      const client = new RunningClient({ to, user: 'alice', platform, software: 'spec', retryForMs: 0, ...options })
      clients.push(client)
      return client
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.close()
      for (const stream of streams) stream.destroy()
      server.close()
    },
  }
}
