import type { OutboxStore, QueuedMessage } from '../../lib/ports/clientState.ts'
import { hex } from '../../lib/runtime/hex.ts'
import { decodeBody } from '../../lib/wire/messageBody.ts'
import type { MessageInvariants } from './messageInvariants.ts'
import type { Post } from './post.ts'
import type { SimulatedProcess } from './process.ts'
import type { Trace } from './trace.ts'

/** Maximum time for storing a change. */
const mostMs = 4

/** The parts of a world that an outbox uses. */
interface OutboxParts {
  readonly trace: Trace
  readonly mail: { readonly invariants: MessageInvariants }
}

/** Identifies a message of a program: another message can have its id, but not its content. */
const postKey = (id: string, content: Uint8Array) => `${id} ${hex(content)}`

/** The durable outbox of one program, which outlives its processes. */
export class SimulatedOutbox {
  readonly kept = new Map<number, QueuedMessage>()
  readonly #parts: OutboxParts
  readonly #posts = new Map<string, Post>()
  /** For each message, how many of its entries the present process has dropped. A message that was sent twice has two entries. */
  readonly #dropped = new Map<Post, number>()

  constructor(parts: OutboxParts) {
    this.#parts = parts
  }

  /** The program is about to send a message. */
  expect(post: Post): void {
    this.#posts.set(postKey(hex(post.id), post.content), post)
  }

  /** The server has refused the message with this id; a message whose id was used before only for that reason. */
  refused(id: string, isReused: boolean): Post | undefined {
    const posts = [...this.#posts.values()].filter((post) => hex(post.id) === id && post.outcome === 'open')
    const post = posts.find(({ forged }) => forged === isReused) ?? posts[0]
    if (post) this.#dropped.set(post, (this.#dropped.get(post) ?? 0) + 1)
    return post
  }

  /** The outbox as a process sees it. Changes happen in the order of the calls. */
  storeOf(process: SimulatedProcess): OutboxStore {
    this.#dropped.clear()
    let last: Promise<void> = Promise.resolve()
    const inTurn = (change: () => void) => {
      last = last.then(() => process.effect(mostMs, 'time to keep a message', change))
      return last
    }
    return {
      load: () => process.effect(mostMs, 'time to load messages', () => [...this.kept.values()]),
      add: (message) => inTurn(() => this.#add(message)),
      mark: (numbers, knownUntil) =>
        inTurn(() => {
          for (const number of numbers) {
            const message = this.kept.get(number)
            if (message) this.kept.set(number, { ...message, knownUntil })
          }
        }),
      remove: (numbers) =>
        inTurn(() => {
          for (const number of numbers) this.#remove(number)
        }),
    }
  }

  #add(message: QueuedMessage): void {
    const { number } = message
    // A later process does not know the numbers of messages that were removed.
    const last = Math.max(0, ...this.kept.keys())
    if (number <= last) this.#parts.trace.fail(`${number} comes after ${last}`)
    this.kept.set(number, message)
  }

  /** A message leaves the outbox: it is stored, refused, or aborted. */
  #remove(number: number): void {
    const message = this.kept.get(number)
    if (!message) return
    this.kept.delete(number)
    const post = this.#posts.get(postKey(message.id, decodeBody(message.body).content))
    if (!post) {
      this.#parts.trace.fail(`the outbox has a message that no program has sent: ${message.id}`)
      return
    }
    if (post.outcome !== 'open' || post.isAborted) return
    const dropped = this.#dropped.get(post) ?? 0
    this.#dropped.set(post, Math.max(0, dropped - 1))
    if (dropped > 0) return
    const states = post.recipients.map((recipient) => ({ recipient, status: 'stored' as const }))
    this.#parts.mail.invariants.acknowledged(post, states)
  }
}
