/**
 * A process with many registered clients: `manyClients.ts`, started by `fork`. Each client connects from one of several
 * loopback addresses, gives up a handshake after 10 s, reconnects as docs/protocol.md requires, and answers pings. It only
 * reads the versions of the presence list, so that thousands of them take less time than the server.
 */
import { randomBytes } from 'node:crypto'
import { createConnection, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { crc32 } from 'node:zlib'
import { clientLimits } from '../../lib/limits.ts'
import { encodeFrame, headerBytes } from '../../lib/wire/frame.ts'
import { encode, type WireMessage } from '../../lib/wire/message.ts'
import { apps, events, rosterKind } from '../../lib/wire/protocol.ts'

/** A command to the process. */
export type ManyCommand =
  /** Connect `count` clients, whose names begin with number `first`. */
  | {
      readonly connect: {
        readonly port: number
        readonly first: number
        readonly count: number
        readonly overTls: boolean
      }
    }
  /** Report, with `reached`, when all clients know this version of the presence list. */
  | { readonly watch: number }
  | 'report'

/** A report of the process. The counts of failures are totals. */
export interface ManyReport {
  readonly registered: number
  /** The lowest and the highest version of the presence list that a client has. */
  readonly versions: readonly [least: number, most: number]
  readonly handshakeTimeouts: number
  /** Links that the server ended after their registration. */
  readonly evicted: number
  /** Links that failed before their registration, by code or error. */
  readonly refused: Readonly<Record<string, number>>
  /** Changes that were received, and those of them that the client had already. */
  readonly changes: number
  readonly repeatedChanges: number
  readonly lists: number
  readonly bytes: number
  readonly reached?: number
}

const addresses = 20
const keepAliveMs = 15_000
/** Bytes at the beginning of a payload that the client reads. */
const keptBytes = 8
const buffer = Buffer.allocUnsafe(65_536)

let registered = 0
let handshakeTimeouts = 0
let evicted = 0
let changes = 0
let repeatedChanges = 0
let lists = 0
let bytes = 0
const refused: Record<string, number> = {}
const clients: Client[] = []
let watched = Number.POSITIVE_INFINITY
let behind = 0

class Client {
  version = 0
  isRegistered = false
  #isGreeted = false
  readonly #name: string
  readonly #session = randomBytes(16)
  readonly #address: string
  readonly #port: number
  readonly #overTls: boolean
  #socket: Socket | undefined
  #timer: NodeJS.Timeout | undefined
  #attempt = 0
  #failures = 0
  #retryAfterMs = 0
  #code = ''
  #seq = 0
  #connectedAtMs = 0
  /** The header, and the first bytes of the payload, of the incomplete frame. */
  readonly #head = Buffer.alloc(headerBytes + keptBytes)
  #filled = 0

  constructor(number: number, port: number, overTls: boolean) {
    this.#name = `client-${number}`
    this.#address = `127.0.0.${2 + (number % addresses)}`
    this.#port = port
    this.#overTls = overTls
  }

  connect(): void {
    this.#isGreeted = false
    this.#filled = 0
    this.#seq = 0
    this.#code = ''
    this.#retryAfterMs = 0
    const options = {
      port: this.#port,
      host: '127.0.0.1',
      localAddress: this.#address,
      noDelay: true,
      onread: { buffer, callback: (length: number, read: Uint8Array) => this.#read(read as Buffer, length) },
    }
    const socket = this.#overTls
      ? connectTls({ ...options, minVersion: 'TLSv1.3', rejectUnauthorized: false })
      : createConnection(options)
    this.#socket = socket
    const timer = setTimeout(() => {
      // A reply that has arrived while this process was busy is read first.
      setImmediate(() => {
        if (this.#timer !== timer || this.#isGreeted) return
        handshakeTimeouts++
        if (this.#overTls) socket.destroy()
        else socket.resetAndDestroy()
      })
    }, clientLimits.handshakeMs)
    this.#timer = timer
    socket.on(this.#overTls ? 'secureConnect' : 'connect', () => {
      this.#ask({
        event: 'HelloReq',
        versions: [1],
        userName: this.#name,
        token: '',
        session: this.#session,
        software: 'bench',
        features: 0,
        attempt: ++this.#attempt,
      })
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#code ||= error.code ?? error.message
    })
    socket.on('close', () => this.#lost())
  }

  #lost(): void {
    clearTimeout(this.#timer)
    this.#socket = undefined
    if (this.isRegistered) {
      evicted++
      registered--
      if (this.version < watched) behind--
      if (performance.now() - this.#connectedAtMs > clientLimits.usefulLinkMs) this.#failures = 0
    } else {
      refused[this.#code] = (refused[this.#code] ?? 0) + 1
    }
    this.isRegistered = false
    this.version = 0
    const most = Math.min(clientLimits.reconnectMostMs, clientLimits.reconnectFirstMs * 2 ** this.#failures++)
    setTimeout(() => this.connect(), Math.max(this.#retryAfterMs, Math.random() * most))
  }

  #ask(message: WireMessage): void {
    this.#send(message, ++this.#seq)
  }

  #send(message: WireMessage, seq: number): void {
    const { number: event, app } = events[message.event]
    const frame = { version: 1, flags: 0, event, seq, app: apps[app], instance: 0, payload: encode(message) }
    this.#socket?.write(Buffer.concat(encodeFrame(frame, crc32)))
  }

  #read(from: Buffer, length: number): boolean {
    bytes += length
    for (let at = 0; at < length; ) {
      if (this.#filled < headerBytes) {
        const taken = Math.min(length - at, headerBytes - this.#filled)
        from.copy(this.#head, this.#filled, at, at + taken)
        this.#filled += taken
        at += taken
        if (this.#filled < headerBytes) return true
      }
      const whole = headerBytes + this.#head.readUInt32BE(0)
      const taken = Math.min(length - at, whole - this.#filled)
      if (this.#filled < this.#head.length) from.copy(this.#head, this.#filled, at, at + taken)
      this.#filled += taken
      at += taken
      if (this.#filled < whole) return true
      this.#filled = 0
      this.#take()
    }
    return true
  }

  #take(): void {
    const head = this.#head
    const event = head.readUInt16BE(6)
    if (event === events.HelloAck.number) {
      clearTimeout(this.#timer)
      this.#isGreeted = true
      this.#ask({ event: 'RegistReq', userName: this.#name, flags: 1 })
    } else if (event === events.RegistListNtf.number) {
      this.#list(head.readUInt32BE(headerBytes), head[headerBytes + 4] ?? 0, head.readUInt16BE(headerBytes + 5))
    } else if (event === events.PingReq.number) {
      this.#send({ event: 'PingAck', listVersion: undefined }, head.readUInt32BE(8))
    } else if ([events.HelloNack.number, events.RegistNack.number, events.GoodbyeNtf.number].includes(event as 66)) {
      this.#code = `code ${head.readUInt16BE(headerBytes)}`
      this.#retryAfterMs = head.readUInt32BE(headerBytes + 2)
      this.#socket?.destroy()
    }
  }

  #list(version: number, kind: number, count: number): void {
    if (kind === rosterKind.whole) {
      lists++
      this.#registered()
    } else {
      changes += count
      repeatedChanges += Math.min(count, Math.max(0, this.version - (version - count)))
      if (version - count > this.version) throw new Error('a change is missing')
    }
    if (version > this.version) {
      if (this.version < watched && version >= watched && this.isRegistered && --behind === 0)
        tell({ reached: watched })
      this.version = version
    }
  }

  #registered(): void {
    this.#connectedAtMs = performance.now()
    this.isRegistered = true
    registered++
    if (this.version < watched) behind++
    // One timer for each client: the pings of clients that came at the same time must not come at the same time.
    this.#timer = setTimeout(() => this.#ping(), keepAliveMs * (0.5 + Math.random() / 2))
  }

  #ping(): void {
    this.#ask({ event: 'PingReq' })
    this.#timer = setTimeout(() => this.#ping(), keepAliveMs * (0.5 + Math.random() / 2))
  }
}

function tell(more: Partial<ManyReport>): void {
  const versions = clients.filter((client) => client.isRegistered).map(({ version }) => version)
  const extremes = [Math.min(...versions), Math.max(...versions)] as const
  const counts = { registered, handshakeTimeouts, evicted, refused, changes, repeatedChanges, lists, bytes }
  process.send?.({ ...counts, versions: extremes, ...more } satisfies ManyReport)
}

process.on('message', (command: ManyCommand) => {
  if (command === 'report') return tell({})
  if ('watch' in command) {
    watched = command.watch
    behind = clients.filter(({ isRegistered, version }) => isRegistered && version < watched).length
    if (behind === 0) tell({ reached: watched })
    return
  }
  const { port, first, count, overTls } = command.connect
  for (let number = first; number < first + count; number++) {
    const client = new Client(number, port, overTls)
    clients.push(client)
    client.connect()
  }
})
process.on('disconnect', () => process.exit())
