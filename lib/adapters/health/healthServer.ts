import { once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { KiB } from '../../limits.ts'
import { checkOptions, having, kinds, optional } from '../../options.ts'
import type { Clock } from '../../ports/platform.ts'
import type { Address } from '../../ports/socket.ts'
import { isLoopback, placeOf, unreachable } from '../net/addresses.ts'
import { nodeClock } from '../node/nodeClock.ts'
import type { Readiness } from './readiness.ts'

/** The limits of the health port. */
export const healthBounds = {
  /** The maximum number of connections. Another one replaces the oldest. */
  connections: 32,
  /** The maximum length of the header of a request. */
  headerBytes: 4 * KiB,
  /** The time that a connection may take to send a request and to read the response. */
  requestMs: 5_000,
} as const

export interface HealthOptions {
  /** A host name or an IP address; by default 127.0.0.1. */
  readonly host?: string
  /** 0 to 65535; 0 selects a free port. */
  readonly port: number
  readonly readiness: Readiness
  /** The time that a connection may take; by default 5 s. */
  readonly requestMs?: number
}

/** A health port that is open. */
export interface HealthServer extends AsyncDisposable {
  readonly address: Address
  /** Closes the port and its connections. Idempotent. */
  close(): Promise<void>
}

const healthOptions = {
  host: optional(kinds.text),
  port: kinds.port,
  readiness: having('a Readiness', 'add'),
  requestMs: optional(kinds.delay),
} as const

/**
 * Serves the health checks of a load balancer or a supervisor over HTTP (GET and HEAD): `/live` returns 200 while the event loop
 * runs, and `/ready` returns 200, or 503 with the reasons as JSON. Each connection is closed after one response. To drain a
 * server before it is closed, add a check that returns a reason, wait until the load balancer has noticed it, and close the
 * server. Rejects with OspError `usage`, or `unreachable` if the address cannot be used.
 */
export async function serveHealth(options: HealthOptions): Promise<HealthServer> {
  checkOptions('serveHealth', healthOptions, options)
  const { host = '127.0.0.1', port, readiness, requestMs = healthBounds.requestMs } = options
  // Loaded on demand: most programs have no health port.
  const { createServer } = await import('node:http')
  const server = createServer({ maxHeaderSize: healthBounds.headerBytes }, (request, response) =>
    answer(request, response, readiness),
  )
  const connections = new HealthConnections(nodeClock(), requestMs)
  server.on('connection', (socket) => connections.add(socket))
  try {
    await once(server.listen(port, host), 'listening')
  } catch (error) {
    throw unreachable('listen', placeOf(host, port), error)
  }
  // Accepting a connection can fail, for example without a free file descriptor.
  server.on('error', () => {})
  const bound = server.address() as AddressInfo
  const close = () => closing(server, connections)
  const address = { host: bound.address, port: bound.port, local: isLoopback(bound.address) }
  return { address, close, [Symbol.asyncDispose]: close }
}

async function closing(server: Server, connections: HealthConnections): Promise<void> {
  if (!server.listening) return
  const closed = once(server, 'close')
  server.close()
  connections.close()
  await closed
}

/** The open connections, the oldest first. */
class HealthConnections {
  readonly #clock: Clock
  readonly #requestMs: number
  readonly #open = new Set<Socket>()

  constructor(clock: Clock, requestMs: number) {
    this.#clock = clock
    this.#requestMs = requestMs
  }

  add(socket: Socket): void {
    const [oldest] = this.#open
    if (oldest && this.#open.size >= healthBounds.connections) oldest.destroy()
    if (oldest?.destroyed) this.#open.delete(oldest)
    this.#open.add(socket)
    const alarm = this.#clock.alarm(this.#clock.now() + this.#requestMs, () => socket.destroy())
    socket.on('close', () => {
      alarm[Symbol.dispose]()
      this.#open.delete(socket)
    })
  }

  close(): void {
    for (const socket of this.#open) socket.destroy()
  }
}

interface HealthAnswer {
  readonly status: number
  readonly body: object
  readonly headers?: Readonly<Record<string, string>>
}

function answerTo({ method, url = '' }: IncomingMessage, readiness: Readiness): HealthAnswer {
  const [path] = url.split('?')
  if (path !== '/live' && path !== '/ready') return { status: 404, body: { error: 'the paths are /live and /ready' } }
  if (method !== 'GET' && method !== 'HEAD')
    return { status: 405, body: { error: 'the methods are GET and HEAD' }, headers: { allow: 'GET, HEAD' } }
  if (path === '/live') return { status: 200, body: { live: true } }
  const { reasons } = readiness
  if (Object.keys(reasons).length === 0) return { status: 200, body: { ready: true } }
  return { status: 503, body: { ready: false, reasons } }
}

function answer(request: IncomingMessage, response: ServerResponse, readiness: Readiness): void {
  const { status, body, headers } = answerTo(request, readiness)
  const text = `${JSON.stringify(body)}\n`
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    connection: 'close',
    ...headers,
  })
  // Node omits the body of a response to HEAD.
  response.end(text)
}
