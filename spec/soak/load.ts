import { EventEmitter } from 'eventemitter3'
import type { Client } from '../../lib/client/client.ts'
import { createClient, OspError } from '../../lib/index.ts'
import { stateDirectory, tcp } from '../../lib/node.ts'
import { eagerPlatform } from '../support/chat/eager.ts'
import { memorySource, patterned } from '../support/memorySource.ts'
import type { SeededRandom } from '../support/random.ts'
import type { HandledMessage, SentMessage, SentUpload } from './history.ts'
import { sha256 } from './servers.ts'

/** Bytes a second of each client that uploads, so that faults happen during uploads. */
const uploadRate = 4_000_000
const uploadBytes = [1_000, 60_000, 900_000, 3_000_000, 9_000_000]
const recipientsMost = 4
/** Unacknowledged messages of one sender. */
const sendsAtOnce = 100

export interface LoadOptions {
  readonly port: number
  /** A directory for state directories. */
  readonly directory: string
  readonly listeners: number
  readonly senders: number
  readonly uploaders: number
  readonly random: SeededRandom
}

/** Emits `change` when a message was acknowledged, refused or handled, and when an upload has ended. */
export class Load extends EventEmitter<{ change: [] }> implements AsyncDisposable {
  readonly sent: SentMessage[] = []
  readonly handled: HandledMessage[] = []
  readonly uploads: SentUpload[] = []
  /** Reasons of refused messages and failed uploads. */
  readonly refusals: string[] = []
  readonly #options: LoadOptions
  readonly #random: SeededRandom
  readonly #senders: Client[]
  readonly #uploaders: Client[]
  readonly #listeners = new Map<string, { client: Client; state: string }>()
  readonly #running = new Set<Promise<unknown>>()
  /** Deliveries that are due, by sender, number and recipient. */
  readonly #due = new Set<string>()
  /** The latest number of each sender. */
  readonly #latest = new Map<string, number>()
  readonly #handledKeys = new Set<string>()
  #states = 0
  #settled = 0
  /** The messages that are sent or will be sent. */
  #messages = 0

  constructor(options: LoadOptions) {
    super()
    this.#options = options
    this.#random = options.random
    this.#senders = named('sender', options.senders).map((user) => this.#client(user))
    this.#uploaders = named('uploader', options.uploaders).map((user) => this.#client(user))
    for (const user of named('user', options.listeners)) this.#listen(user, this.#newState(user))
  }

  /** The number of messages that are acknowledged or refused, and of uploads that have ended. */
  get settled(): number {
    return this.#settled
  }

  /** The number of messages and uploads. */
  get total(): number {
    return this.#messages + this.uploads.length
  }

  /** The number of acknowledged deliveries that were not handled yet. */
  get due(): number {
    return this.#due.size
  }

  /** Starts sending messages and uploads. Does not wait until they end. */
  add(messages: number, uploads: number): void {
    this.#messages += messages
    for (let at = 0; at < uploads; at++) this.#run(this.#upload())
    this.#senders.forEach((client, at) => {
      const share = Math.floor(messages / this.#senders.length) + (at < messages % this.#senders.length ? 1 : 0)
      this.#run(this.#send(client, `sender${at}`, share))
    })
  }

  /**
   * Ends the program of a user who listens and starts the next one: with the same state directory, or as another program with
   * a new one. Resolves with a description.
   */
  async restartListener(): Promise<string> {
    const user = this.#random.pick([...this.#listeners.keys()], 'a listener')
    const former = this.#listeners.get(user)
    if (!former) throw new RangeError(`${user} does not listen`)
    const isNew = this.#random.chance(0.3, 'a new state directory')
    await former.client.close()
    this.#listen(user, isNew ? this.#newState(user) : former.state)
    return `${user} continues with ${isNew ? 'a new' : 'the same'} state directory`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const listeners = [...this.#listeners.values()].map(({ client }) => client)
    await Promise.all([...this.#senders, ...this.#uploaders, ...listeners].map((client) => client.close()))
    await Promise.all(this.#running)
  }

  #client(user: string, state?: string): Client {
    const { port, directory } = this.#options
    return createClient(tcp({ port }), {
      user,
      platform: eagerPlatform(),
      limitRate: uploadRate,
      ...(state === undefined ? {} : { state: stateDirectory(`${directory}/${state}`) }),
    })
  }

  #newState(user: string): string {
    return `state-${user}-${++this.#states}`
  }

  #listen(user: string, state: string): void {
    const client = this.#client(user, state)
    this.#listeners.set(user, { client, state })
    client.receive((message) => {
      const [sender = '', n = ''] = message.text().split(' ')
      const one = { recipient: user, sender, n: Number(n), attempt: message.attempt, state }
      this.handled.push(one)
      this.#handledKeys.add(dueKey(one))
      this.#due.delete(dueKey(one))
      this.emit('change')
    })
  }

  #message(sender: string): SentMessage {
    const all = [...this.#listeners.keys()]
    const to = new Set<string>()
    const count = this.#random.integer(1, Math.min(recipientsMost, all.length), 'recipients')
    while (to.size < count) to.add(this.#random.pick(all, 'a recipient'))
    const n = (this.#latest.get(sender) ?? 0) + 1
    this.#latest.set(sender, n)
    const message: SentMessage = { sender, n, to: [...to], outcome: 'unknown' }
    this.sent.push(message)
    return message
  }

  /**
   * Sends messages, a limited number at once. Each gets its number when it is sent, since the messages of an earlier call may not all
   * have been sent.
   */
  async #send(client: Client, sender: string, messages: number): Promise<void> {
    const open = new Set<Promise<void>>()
    for (let left = messages; left > 0; left--) {
      const sending = this.#sendOne(client, this.#message(sender)).finally(() => open.delete(sending))
      open.add(sending)
      if (open.size >= sendsAtOnce) await Promise.race(open)
    }
    await Promise.all(open)
  }

  async #sendOne(client: Client, message: SentMessage): Promise<void> {
    const { sender, n, to } = message
    try {
      await client.send(to, `${sender} ${n}`)
      message.outcome = 'acknowledged'
      for (const recipient of to) this.#acknowledge(recipient, message)
    } catch (error) {
      const { code, message: text } = OspError.from(error)
      if (code !== 'timed-out' && code !== 'closed') message.outcome = 'refused'
      this.refusals.push(`message ${n} of ${sender}: ${code}: ${text}`)
    }
    this.#settle()
  }

  #acknowledge(recipient: string, { sender, n }: SentMessage): void {
    const key = dueKey({ recipient, sender, n })
    // A message can be handled before its sender receives the acknowledgement.
    if (!this.#handledKeys.has(key)) this.#due.add(key)
  }

  async #upload(): Promise<void> {
    const number = this.uploads.length
    const at = number % this.#uploaders.length
    const client = this.#uploaders[at]
    const most = this.#random.pick(uploadBytes, 'a size')
    const bytes = patterned(this.#random.integer(most >> 1, most, 'bytes'), number + 1)
    const name = `folder-${number % 3}/file-${number}`
    const upload: SentUpload = { path: `uploader${at}/${name}`, digest: sha256(bytes), isStored: false }
    this.uploads.push(upload)
    try {
      const sent = await (await client?.upload(memorySource(name, bytes)))?.done
      upload.isStored = true
      if (sent?.storedName !== name || sent.digest !== upload.digest) {
        this.refusals.push(`upload ${upload.path}: stored as ${sent?.storedName} with digest ${sent?.digest}`)
      }
    } catch (error) {
      const { code, message } = OspError.from(error)
      this.refusals.push(`upload ${upload.path}: ${code}: ${message}`)
    }
    this.#settle()
  }

  #settle(): void {
    this.#settled++
    this.emit('change')
  }

  #run(work: Promise<void>): void {
    const running = work.finally(() => this.#running.delete(running))
    this.#running.add(running)
  }
}

const dueKey = ({ recipient, sender, n }: Pick<HandledMessage, 'recipient' | 'sender' | 'n'>) =>
  `${sender} ${n} ${recipient}`

const named = (name: string, count: number) => Array.from({ length: count }, (_, at) => `${name}${at}`)
