import type { Client } from 'pg'
import * as z from 'zod/mini'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { jsonOf } from '../../runtime/json.ts'
import type { Notice, NoticeSteps } from '../cluster/steps.ts'
import type { Database, Statement } from './database.ts'

/** The maximum size of a notification in bytes; PostgreSQL permits 7,999. */
const mostBytes = 7_900
/** The maximum number of notifications for one notice. A longer notice is replaced by one of kind `unknown`. */
const mostParts = 8

const notify: Statement = {
  name: 'notify',
  text: 'SELECT pg_notify($1, part) FROM unnest($2::text[]) part',
}

const received = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('mail'), users: z.array(z.string()) }),
  z.object({ kind: z.literal('presence'), server: z.number(), version: z.number() }),
  z.object({ kind: z.literal('ended'), link: z.number(), why: z.enum(['superseded', 'closed']) }),
  z.object({ kind: z.literal('claim'), token: z.number(), why: z.enum(['superseded', 'cancelled']) }),
  z.object({ kind: z.literal('users') }),
  z.object({ kind: z.literal('unknown') }),
])

/** Returns the notice that another server has sent; one of kind `unknown` if this version cannot read it. */
function noticeOf(text: string): Notice {
  const { data } = received.safeParse(jsonOf(text))
  return data ?? { kind: 'unknown' }
}

const channelOf = (to: number | 'all') => `ospd_${to}`

/** Notifications between servers, by LISTEN and NOTIFY. */
export class PostgresNotices implements NoticeSteps, AsyncDisposable {
  readonly #database: Database
  readonly #listeners = new Set<Listener>()

  constructor(database: Database) {
    this.#database = database
  }

  async tell(to: number | 'all', notice: Notice): Promise<void> {
    // A server can notify itself as soon as it listens.
    for (const { began } of this.#listeners) await began
    await this.#database.query(notify, [channelOf(to), partsOf(notice)]).catch(() => {})
  }

  hear(server: number, heard: (notice: Notice) => void): Disposable {
    const listener = new Listener(this.#database, server, heard)
    this.#listeners.add(listener)
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener)
        void listener.close()
      },
    }
  }

  /** Closes all listeners. */
  async [Symbol.asyncDispose](): Promise<void> {
    const listeners = [...this.#listeners]
    this.#listeners.clear()
    await Promise.all(listeners.map((listener) => listener.close()))
  }
}

/** Returns the payloads of the notifications for this notice. */
function partsOf(notice: Notice): string[] {
  const text = JSON.stringify(notice)
  if (Buffer.byteLength(text) <= mostBytes) return [text]
  const parts = notice.kind === 'mail' ? mailParts(notice.users) : []
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
  readonly #database: Database
  readonly #server: number
  readonly #heard: (notice: Notice) => void
  readonly #began: Deferred<void> = deferred()
  readonly #running: Promise<void>
  #client: Client | undefined
  #isClosed = false
  /** Ends the current wait. */
  #wake = () => {}

  constructor(database: Database, server: number, heard: (notice: Notice) => void) {
    this.#database = database
    this.#server = server
    this.#heard = heard
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
      client.on('notification', ({ payload = '' }) => {
        if (!this.#isClosed) this.#heard(noticeOf(payload))
      })
      for (const to of ['all', this.#server] as const) await client.query(`LISTEN ${channelOf(to)}`)
      this.#began.resolve()
      // Notifications before this point were missed.
      if (!this.#isClosed) this.#heard({ kind: 'unknown' })
      await ended
    } finally {
      this.#client = undefined
      await client.end().catch(() => {})
    }
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
