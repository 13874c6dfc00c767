import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { type Client, connect } from '../../lib/index.ts'
import { KiB } from '../../lib/limits.ts'
import { tcp } from '../../lib/node.ts'
import { events } from '../../lib/wire/protocol.ts'
import { BareLink, same, type Target } from './bareLink.ts'
import { memorySource, patterned } from './memorySource.ts'

/** The experience of an honest client in one span of time. Times are in ms. */
export interface Met {
  readonly pings: readonly number[]
  readonly uploads: readonly number[]
  readonly messages: readonly number[]
  /** From dialling to HELLO_ACK, including refusals and the waits that they require. */
  readonly logins: readonly number[]
  /** Descriptions of the failures. */
  readonly failures: readonly string[]
}

/** Users that an honest client needs. */
export const honestUsers = ['honest', 'friend', 'visitor'] as const

/** A local address that no attacker uses. */
const from = 77

const pingEveryMs = 10
const pauseMs = 100
/** Time after which an upload, a message or a login counts as failed. */
const mostMs = 10_000

/**
 * Sends a ping every 10 ms, whether or not the previous one was answered. Meanwhile it uploads files of 1 KiB, sends
 * messages to a listening user, and lets another user log in, each repeatedly.
 */
export class HonestClient implements AsyncDisposable {
  readonly #target: Target
  readonly #link: BareLink
  readonly #clients: readonly Client[]
  readonly #over = new AbortController()
  readonly #received = new Map<string, () => void>()
  #met = {
    pings: [] as number[],
    uploads: [] as number[],
    messages: [] as number[],
    logins: [] as number[],
    failures: [] as string[],
  }
  #going: Promise<unknown> = Promise.resolve()
  #count = 0

  private constructor(target: Target, link: BareLink, clients: readonly Client[]) {
    this.#target = target
    this.#link = link
    this.#clients = clients
  }

  static async begin(target: Target): Promise<HonestClient> {
    const link = await BareLink.letIn(target, 'honest', { from, session: 'ping' })
    if (!link) throw new Error('the server refused the honest client')
    const clients = await Promise.all(
      ['honest', 'friend'].map((user) => {
        const token = target.tokens[user]
        return connect({
          to: tcp({ port: target.port }),
          user,
          ...(token !== undefined && { token: async () => token }),
        })
      }),
    )
    const client = new HonestClient(target, link, clients)
    client.#start()
    return client
  }

  /** Returns the results since the last call. */
  take(): Met {
    const met = this.#met
    this.#met = { pings: [], uploads: [], messages: [], logins: [], failures: [] }
    return met
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await this.#going
    this.#link.stream.destroy()
    await Promise.all(this.#clients.map((client) => client.close()))
  }

  #start(): void {
    const [honest, friend] = this.#clients
    if (!honest || !friend) return
    friend.receive((message) => this.#received.get(message.text())?.())
    const content = patterned(KiB)
    const upload = async () => {
      const { done: finished } = await honest.uploads.add(memorySource(`${this.#count++ % 50}`, content))
      await finished
    }
    const send = async () => {
      const text = `message ${this.#count++}`
      const received = new Promise<void>((resolve) => this.#received.set(text, resolve))
      await honest.send(['friend'], text)
      await received
      this.#received.delete(text)
    }
    this.#going = Promise.all([
      this.#ping(),
      this.#again('upload', upload, (ms) => this.#met.uploads.push(ms)),
      this.#again('message', send, (ms) => this.#met.messages.push(ms)),
      this.#again(
        'login',
        () => this.#login(),
        (ms) => this.#met.logins.push(ms),
      ),
    ])
  }

  async #ping(): Promise<void> {
    const { signal } = this.#over
    const sent = new Map<number, number>()
    this.#link.took = ({ event, seq }) => {
      const began = sent.get(seq)
      if (event !== events.PingAck.number || began === undefined) return
      sent.delete(seq)
      this.#met.pings.push(performance.now() - began)
    }
    const ping = same({ event: 'PingReq' })
    while (!signal.aborted && !this.#link.over) {
      sent.set(this.#link.seq + 1, performance.now())
      this.#link.ask(ping)
      await pause(pingEveryMs)
    }
    if (!signal.aborted) this.#met.failures.push('the link of pings was closed')
  }

  async #again(what: string, once: () => Promise<void>, met: (ms: number) => void): Promise<void> {
    const { signal } = this.#over
    while (!signal.aborted) {
      const began = performance.now()
      const timeout = new AbortController()
      const late = pause(mostMs, undefined, { signal: timeout.signal }).then(
        () => this.#met.failures.push(`${what}: not done in ${mostMs / 1_000} s`),
        () => {},
      )
      const done = once().then(
        () => met(performance.now() - began),
        (error) => {
          this.#met.failures.push(`${what}: ${error instanceof Error ? error.message : error}`)
        },
      )
      await Promise.race([done, late])
      timeout.abort()
      await pause(pauseMs)
    }
  }

  /** Opens a new link of a user who has none. */
  async #login(): Promise<void> {
    const ended = performance.now() + mostMs
    while (performance.now() < ended) {
      const link = await BareLink.letIn(this.#target, 'visitor', { from, session: `${this.#count++}` })
      if (link) {
        link.stream.destroy()
        await once(link.stream, 'close').catch(() => {})
        return
      }
      await pause(500)
    }
    throw new Error('refused repeatedly')
  }
}
