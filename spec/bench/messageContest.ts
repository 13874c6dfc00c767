import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect as dial, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, connect } from 'ospd'
import { tcp } from 'ospd/node'
import { type Running, startCommand, startNode } from '../support/processes.ts'
import { type Contender, cpuSeconds, quantile, type Result } from './contest.ts'
import { reachable } from './uploadContest.ts'

/** Text of each message, in bytes. */
const bytes = 100
/** The number of messages that measure throughput, and of those that are sent before the measurement. */
const count = 20_000
/** The number of messages that measure latency. Twice as many are sent before the measurement. */
const countAlone = 1_000

/** A client of one kind of broker that publishes, and its subscribers. */
interface Publisher {
  /** Publishes one message. Resolves when the broker has acknowledged it. */
  publish(): Promise<unknown>
  /** Adds subscribers until there are `count`. Each calls `received` for each message. */
  subscribe(count: number, received: () => void): Promise<void>
  close(): Promise<void>
}

export interface Broker {
  readonly name: string
  start(directory: string): Running
  readonly port: number
  open(): Promise<Publisher>
}

/** `ackMs`: round trip of one message alone, p50; `oneToOne`: 100 unanswered, received; `oneToMany`: deliveries to 16. */
export type Measure = 'ackMs' | 'ackP99Ms' | 'oneToOne' | 'oneToMany'

/** Measures a broker, started anew for each run. */
export function messageContender(broker: Broker, base: string, measure: Measure): Contender {
  return {
    name: broker.name,
    run: async (): Promise<Result> => {
      const directory = join(base, 'messages')
      rmSync(directory, { recursive: true, force: true })
      mkdirSync(directory, { recursive: true })
      const server = broker.start(directory)
      try {
        await reachable(broker.port)
        const publisher = await broker.open()
        try {
          return await within(60_000, measureOnce(publisher, measure, server.child.pid ?? 0))
        } finally {
          await publisher.close()
        }
      } finally {
        await server.kill('SIGTERM')
      }
    },
  }
}

/** Measures a broker after it has served messages for a while, so that the compilers and caches are warm. */
async function measureOnce(publisher: Publisher, measure: Measure, pid: number): Promise<Result> {
  const counter = new Counter()
  const received = () => counter.add()
  await publisher.subscribe(1, received)
  await pause(50)
  await flood(publisher, counter, count, 1, 100)
  if (measure === 'oneToOne') return throughput(publisher, counter, count, 1, pid)
  if (measure === 'oneToMany') {
    await publisher.subscribe(16, received)
    await pause(100)
    return throughput(publisher, counter, Math.ceil(count / 8), 16, pid)
  }
  await flood(publisher, counter, 2 * countAlone, 1, 1)
  const times: number[] = []
  const all = counter.reach(countAlone)
  for (let at = 0; at < countAlone; at++) {
    const began = performance.now()
    await publisher.publish()
    times.push(performance.now() - began)
  }
  await all
  return { value: quantile(times, measure === 'ackMs' ? 0.5 : 0.99) }
}

async function throughput(
  publisher: Publisher,
  counter: Counter,
  count: number,
  subscribers: number,
  pid: number,
): Promise<Result> {
  const [server, own, began] = [cpuSeconds(pid), process.cpuUsage(), performance.now()]
  await flood(publisher, counter, count, subscribers, 100)
  const seconds = (performance.now() - began) / 1_000
  const { user, system } = process.cpuUsage(own)
  const clientCpuS = (user + system) / 1e6
  return { value: (count * subscribers) / seconds, clientCpuS, serverCpuS: cpuSeconds(pid) - server }
}

/** Publishes `count` messages with up to `unanswered` at once. Resolves when all are acknowledged and received. */
async function flood(
  publisher: Publisher,
  counter: Counter,
  count: number,
  subscribers: number,
  unanswered: number,
): Promise<void> {
  const all = counter.reach(count * subscribers)
  let sent = 0
  const worker = async () => {
    while (sent++ < count) await publisher.publish()
  }
  await Promise.all([...Array.from({ length: unanswered }, worker), all])
}

/** Counts what the subscribers receive. */
class Counter {
  #left = Number.POSITIVE_INFINITY
  #reached: () => void = () => {}

  add(): void {
    if (--this.#left === 0) this.#reached()
  }

  /** Resolves after `count` more messages. */
  reach(count: number): Promise<void> {
    this.#left = count
    return new Promise((resolve) => {
      this.#reached = resolve
    })
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const expired = new AbortController()
  const late = pause(ms, undefined, { signal: expired.signal }).then(() => {
    throw new Error(`not done after ${ms} ms`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([work, late])
  } finally {
    expired.abort()
  }
}

export const ospdBroker = (port: number): Broker => ({
  name: 'ospd',
  port,
  start: (directory) => startNode('dist/bin/ospd.js', ['serve', '--port', `${port}`, '--data', directory, '--quiet']),
  async open() {
    const to = tcp({ port })
    const sender = await connect(to, { user: 'sender' })
    const recipients: Client[] = []
    const text = 'x'.repeat(bytes)
    return {
      publish: () =>
        sender.send(
          recipients.map((_, at) => `recipient-${at}`),
          text,
        ),
      async subscribe(count, received) {
        while (recipients.length < count) {
          const client = await connect(to, { user: `recipient-${recipients.length}` })
          client.receive(received)
          await client.presence.ready()
          recipients.push(client)
        }
      },
      close: async () => void (await Promise.all([sender, ...recipients].map((client) => client.close()))),
    }
  },
})

/** Mosquitto with QoS 1; it does not flush before it acknowledges. */
export const mosquitto = (port: number, packages: string): Broker => ({
  name: 'mosquitto QoS 1',
  port,
  start(directory) {
    const config = join(directory, 'mosquitto.conf')
    const lines = [
      `listener ${port} 127.0.0.1`,
      'allow_anonymous true',
      'max_queued_messages 0',
      'max_inflight_messages 1000',
      'set_tcp_nodelay true',
      'log_dest none',
    ]
    writeFileSync(config, `${lines.join('\n')}\n`)
    return startCommand('mosquitto', ['-c', config])
  },
  async open() {
    const { connectAsync } = createRequire(join(packages, 'package.json'))('mqtt')
    const open = (clientId: string) =>
      connectAsync(`mqtt://127.0.0.1:${port}`, { clientId, clean: false, reconnectPeriod: 0 })
    const sender = await open('sender')
    const clients = [sender]
    const body = Buffer.alloc(bytes, 'x')
    return {
      publish: () => sender.publishAsync('bench', body, { qos: 1 }),
      async subscribe(count, received) {
        while (clients.length <= count) {
          const client = await open(`recipient-${clients.length}`)
          client.on('message', received)
          await client.subscribeAsync('bench', { qos: 1 })
          clients.push(client)
        }
      },
      close: async () => void (await Promise.all(clients.map((client) => client.endAsync()))),
    }
  },
})

/** Redis Streams with `appendfsync always`, which flushes before it acknowledges. */
export const redis = (port: number, packages: string): Broker => ({
  name: 'Redis Streams, appendfsync always',
  port,
  start: (directory) =>
    startCommand('redis-server', [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory],
      ...['--appendonly', 'yes', '--appendfsync', 'always', '--save', ''],
    ]),
  async open() {
    const { createClient } = createRequire(join(packages, 'package.json'))('redis')
    const open = async () => {
      const client = createClient({ url: `redis://127.0.0.1:${port}` })
      client.on('error', () => {})
      return client.connect()
    }
    const sender = await open()
    const clients = [sender]
    let closing = false
    const fields = { text: 'x'.repeat(bytes) }
    const read = async (client: { xRead(...args: unknown[]): Promise<RedisReply> }, received: () => void) => {
      let id = (await sender.xInfoStream('bench').catch(() => undefined))?.['last-generated-id'] ?? '0-0'
      while (!closing) {
        const reply = await client.xRead({ key: 'bench', id }, { BLOCK: 200, COUNT: 1_000 }).catch(() => undefined)
        for (const message of reply?.[0]?.messages ?? []) {
          ;({ id } = message)
          received()
        }
      }
    }
    return {
      publish: () => sender.xAdd('bench', '*', fields),
      async subscribe(count, received) {
        while (clients.length <= count) {
          const client = await open()
          clients.push(client)
          void read(client, received)
        }
        await pause(100)
      },
      async close() {
        closing = true
        await pause(300)
        for (const client of clients) client.destroy()
      },
    }
  },
})

type RedisReply = { readonly messages: readonly { readonly id: string }[] }[] | null

/** NATS JetStream with a stream in files; it flushes every two minutes, and not before it acknowledges. */
export const nats = (port: number, packages: string): Broker => ({
  name: 'NATS JetStream, file',
  port,
  start: (directory) => startCommand('nats-server', ['-js', '-sd', directory, '-a', '127.0.0.1', '-p', `${port}`]),
  async open() {
    const from = createRequire(join(packages, 'package.json'))
    const { connect: open } = from('@nats-io/transport-node')
    const { jetstream, jetstreamManager } = from('@nats-io/jetstream')
    const links = [await open({ servers: `127.0.0.1:${port}` })]
    const manager = await jetstreamManager(links[0])
    const stream = jetstream(links[0])
    await manager.streams.add({ name: 'bench', subjects: ['bench'], storage: 'file' })
    const body = new Uint8Array(bytes).fill(120)
    const settings = { ack_policy: 'explicit', deliver_policy: 'new', max_ack_pending: 10_000 }
    const read = async (messages: AsyncIterable<{ ack(): void }>, received: () => void) => {
      for await (const message of messages) {
        message.ack()
        received()
      }
    }
    return {
      publish: () => stream.publish('bench', body),
      async subscribe(count, received) {
        while (links.length <= count) {
          const link = await open({ servers: `127.0.0.1:${port}` })
          const durable_name = `recipient-${links.length}`
          await manager.consumers.add('bench', { durable_name, ...settings })
          const consumer = await jetstream(link).consumers.get('bench', durable_name)
          void read(await consumer.consume({ max_messages: 1_000 }), received)
          links.push(link)
        }
      },
      close: async () => void (await Promise.all(links.map((link) => link.close()))),
    }
  },
})

/** Plain frames of Node, answered after a log that is flushed in groups: what the work costs at least. */
export const plainLog = (port: number): Broker => ({
  name: 'plain Node frames, flushed log',
  port,
  start: (directory) =>
    startNode('spec/bench/plainLog.ts', [`${port}`, join(directory, 'log')], { node: ['--import', 'tsx'] }),
  async open() {
    const open = () =>
      new Promise<Socket>((resolve) => {
        const socket = dial({ port, host: '127.0.0.1', noDelay: true }, () => resolve(socket))
      })
    const sender = await open()
    const sockets = [sender]
    const waiting: (() => void)[] = []
    eachFrame(sender, () => waiting.shift()?.())
    const frame = Buffer.alloc(5 + bytes, 'x')
    frame.writeUInt32LE(frame.length - 4)
    let corked = false
    return {
      publish: () =>
        new Promise<void>((resolve) => {
          waiting.push(resolve)
          if (!corked) {
            corked = true
            sender.cork()
            process.nextTick(() => {
              corked = false
              sender.uncork()
            })
          }
          sender.write(frame)
        }),
      async subscribe(count, received) {
        while (sockets.length <= count) {
          const socket = await open()
          eachFrame(socket, received)
          socket.write(Buffer.from([1, 0, 0, 0, 1]))
          sockets.push(socket)
          await pause(5)
        }
      },
      close: async () => {
        for (const socket of sockets) socket.destroy()
      },
    }
  },
})

/** Calls `use` with each frame: its length in 4 bytes, least significant first, then its bytes. */
export function eachFrame(socket: Socket, use: (frame: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (bytes: Buffer) => {
    rest = rest.length > 0 ? Buffer.concat([rest, bytes]) : bytes
    let at = 0
    while (rest.length - at >= 4 && rest.length - at >= 4 + rest.readUInt32LE(at)) {
      const end = at + 4 + rest.readUInt32LE(at)
      use(rest.subarray(at, end))
      at = end
    }
    rest = rest.subarray(at)
  })
}
