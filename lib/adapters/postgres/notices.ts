import type { Client } from 'pg'
import * as z from 'zod/mini'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { jsonOf } from '../../runtime/json.ts'
import type { Notice, NoticeSteps } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'

/** The maximum size of a notification in bytes; PostgreSQL permits 7,999. */
const mostBytes = 7_900
/** The maximum number of notifications for one notice. A longer notice becomes one about everything. */
const mostParts = 8

export interface NoticeOptions {
  /** Called when notifications do not arrive, for example through a connection pooler. The listener then polls. */
  readonly silent?: () => void
  /** The time after which a notification of the self-test counts as lost. */
  readonly testMs?: number
  /** The interval of polling while notifications do not arrive. */
  readonly pollMs?: number
}

const notify: Statement = {
  name: 'notify',
  text: 'SELECT pg_notify($1, part) FROM unnest($2::text[]) part',
}

/** A notice, or a self-test of a listener. */
type Payload = Notice | { readonly kind: 'test' }

const received = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('mail'), users: z.array(z.string()) }),
  z.object({ kind: z.literal('presence'), server: z.number(), version: z.number() }),
  z.object({ kind: z.literal('ended'), link: z.number(), why: z.enum(['superseded', 'closed']) }),
  z.object({ kind: z.literal('claim'), token: z.number(), why: z.enum(['superseded', 'cancelled']) }),
  z.object({ kind: z.literal('users') }),
  z.object({ kind: z.literal('unknown') }),
  z.object({ kind: z.literal('test') }),
])

/** Returns a payload that another server has sent. One that this version does not know is about everything. */
function payloadOf(text: string): Payload {
  const { data } = received.safeParse(jsonOf(text))
  return data ?? { kind: 'unknown' }
}

/** The database of the notifications. */
type Connections = Pick<Database, 'query' | 'connect'>

const channelOf = (to: number | 'all') => `ospd_${to}`

/** The notifications of servers: LISTEN and NOTIFY. */
export class PostgresNotices implements NoticeSteps, AsyncDisposable {
  readonly #database: Connections
  readonly #options: NoticeOptions
  readonly #listeners = new Set<Listener>()

  constructor(database: Connections, options: NoticeOptions = {}) {
    this.#database = database
    this.#options = options
  }

  async tell(to: number | 'all', notice: Notice): Promise<void> {
    // A server can notify itself as soon as it listens.
    for (const { began } of this.#listeners) await began
    await send(this.#database, to, notice).catch(() => {})
  }

  hear(server: number, heard: (notice: Notice) => void): Disposable {
    const listener = new Listener(this.#database, server, heard, this.#options)
    this.#listeners.add(listener)
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener)
        void listener.close()
      },
    }
  }

  /** Ends all listeners. */
  async [Symbol.asyncDispose](): Promise<void> {
    const listeners = [...this.#listeners]
    this.#listeners.clear()
    await Promise.all(listeners.map((listener) => listener.close()))
  }
}

async function send(database: Connections, to: number | 'all', payload: Payload): Promise<void> {
  await database.query(notify, [channelOf(to), partsOf(payload)])
}

/** Returns the texts of notifications for this payload. */
function partsOf(payload: Payload): string[] {
  const text = JSON.stringify(payload)
  if (Buffer.byteLength(text) <= mostBytes) return [text]
  const parts = payload.kind === 'mail' ? mailParts(payload.users) : []
  return parts.length > 0 && parts.length <= mostParts ? parts : [JSON.stringify({ kind: 'unknown' } satisfies Notice)]
}

function mailParts(users: readonly string[]): string[] {
  const half = Math.ceil(users.length / 2)
  return half === 0 || half === users.length
    ? [JSON.stringify({ kind: 'unknown' } satisfies Notice)]
    : [users.slice(0, half), users.slice(half)].flatMap((some) => partsOf({ kind: 'mail', users: some }))
}

const firstWaitMs = 100
const mostWaitMs = 5_000

/** A connection that listens for notifications to one server. It is opened again whenever it ends. */
class Listener {
  readonly #database: Connections
  readonly #server: number
  readonly #heard: (notice: Notice) => void
  readonly #options: NoticeOptions
  readonly #began: Deferred<void> = deferred()
  readonly #running: Promise<void>
  #client: Client | undefined
  #isClosed = false
  /** Ends the current wait. */
  #wake = () => {}
  /** Whether a notification has arrived over the current connection. */
  #hasArrived = false
  #poll: NodeJS.Timeout | undefined

  constructor(database: Connections, server: number, heard: (notice: Notice) => void, options: NoticeOptions) {
    this.#database = database
    this.#server = server
    this.#heard = heard
    this.#options = options
    this.#running = this.#run()
  }

  /** Resolves when the first connection listens, or could not be opened. */
  get began(): Promise<void> {
    return this.#began.promise
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#wake()
    await this.#client?.end().catch(() => {})
    await this.#running
  }

  async #run(): Promise<void> {
    let waitMs = firstWaitMs
    while (!this.#isClosed) {
      try {
        await this.#listen()
        waitMs = firstWaitMs
      } catch {
        // The database cannot be reached; the listener tries again.
      }
      this.#began.resolve()
      this.#stopPolling()
      if (this.#isClosed) return
      await this.#wait(waitMs)
      waitMs = Math.min(2 * waitMs, mostWaitMs)
    }
  }

  /** Listens until the connection ends. */
  async #listen(): Promise<void> {
    const client = await this.#database.connect()
    this.#client = client
    try {
      if (this.#isClosed) return
      const ended = new Promise<void>((resolve) => client.once('end', () => resolve()))
      client.on('notification', ({ payload }) => this.#received(payload ?? ''))
      for (const to of ['all', this.#server] as const) await client.query(`LISTEN ${channelOf(to)}`)
      this.#began.resolve()
      // Earlier notifications were missed.
      if (!this.#isClosed) this.#heard({ kind: 'unknown' })
      const isTested = this.#selfTest()
      await ended
      this.#client = undefined
      this.#wake()
      await isTested
    } finally {
      this.#client = undefined
      await client.end().catch(() => {})
    }
  }

  /** Polls from now on if a notification to this server does not arrive. */
  async #selfTest(): Promise<void> {
    const { testMs = 2_000, pollMs = 100, silent } = this.#options
    this.#hasArrived = false
    await send(this.#database, this.#server, { kind: 'test' }).catch(() => {})
    if (!this.#hasArrived && this.#client) await this.#wait(testMs)
    if (this.#hasArrived || this.#isClosed || !this.#client) return
    silent?.()
    this.#poll = setInterval(() => this.#heard({ kind: 'unknown' }), pollMs)
  }

  #received(text: string): void {
    if (this.#isClosed) return
    this.#hasArrived = true
    this.#stopPolling()
    this.#wake()
    const payload = payloadOf(text)
    if (payload.kind !== 'test') this.#heard(payload)
  }

  #stopPolling(): void {
    clearInterval(this.#poll)
    this.#poll = undefined
  }

  /** Resolves after `ms`, or when `#wake` is called. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
