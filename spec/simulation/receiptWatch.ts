import type { MessageReceipt } from '../../lib/client/messages/messageReceipts.ts'
import { bytesOfHex } from '../../lib/runtime/hex.ts'
import { keyOf, type Post } from './post.ts'
import type { Trace } from './trace.ts'

/** The facts about messages that the checks of receipts use. Names are `user key`. */
interface ReceiptParts {
  readonly trace: Pick<Trace, 'fail'>
  post(key: string): Post | undefined
  /** Whether the record of a message may be lost. */
  isDamaged(key: string): boolean
  /** Whether a message may be handled again, because the storage has lost changes. */
  isRepeatable(key: string): boolean
  isHandled(name: string): boolean
  isRejected(name: string): boolean
  /** Whether the user has removed a device. Receipts that follow from this have no result. */
  hasRemovedDevices(user: string): boolean
}

/** Checks that each message and recipient has one receipt, and that the receipt reports the true outcome. */
export class ReceiptWatch {
  readonly #parts: ReceiptParts
  /** The receipts that the programs of the sender have received, by name. */
  readonly #seen = new Map<string, string>()
  /** The names of acknowledged messages whose receipts no program has received. */
  readonly #owed = new Set<string>()

  constructor(parts: ReceiptParts) {
    this.#parts = parts
  }

  /** The names of the receipts that no program has received, although they cannot be lost. */
  get owed(): readonly string[] {
    return [...this.#owed].filter((name) => !this.#parts.isDamaged(keyIn(name)))
  }

  /** A message that asks for receipts is acknowledged for these users, who have programs. */
  asked({ key }: Post, users: readonly string[]): void {
    for (const name of users.map((user) => `${user} ${key}`)) if (!this.#seen.has(name)) this.#owed.add(name)
  }

  /** Returns whether programs of the sender have received the receipts of these recipients of a message. */
  haveArrived(key: string, recipients: readonly string[]): boolean {
    return recipients.every((recipient) => this.#seen.has(`${recipient} ${key}`))
  }

  /** A program keeps the receipts of a message without passing them on. */
  kept(key: string): void {
    for (const name of this.#owed) if (keyIn(name) === key) this.#owed.delete(name)
  }

  /** A program of `user` has received a receipt. */
  got(user: string, receipt: MessageReceipt): void {
    const { messageId, recipient, state, at, result } = receipt
    const key = keyOf(user, bytesOfHex(messageId))
    const post = this.#parts.post(key)
    const name = `${recipient} ${key}`
    this.#owed.delete(name)
    // Its id may have been forgotten, and may belong to another message now.
    if (this.#parts.isDamaged(key)) return
    if (!post?.asksReceipts || !post.to.includes(recipient)) {
      this.#fail(`${user} got a receipt of ${recipient} that no message has asked for: ${key}`)
      return
    }
    const why = this.#untruth(post, name, receipt)
    if (why) this.#fail(`${user} got the receipt "${state}" of ${recipient} for ${post.name}: ${why}`)
    const text = `${state} ${at.getTime()} ${result}`
    const former = this.#seen.get(name) ?? text
    if (former !== text && !this.#parts.isRepeatable(key))
      this.#fail(`${user} got two receipts of ${recipient} for ${post.name}: ${former}, and ${text}`)
    this.#seen.set(name, text)
  }

  /** Returns the reason why a receipt is wrong. */
  #untruth(post: Post, name: string, { state, result }: MessageReceipt): string | undefined {
    if (post.outcome === 'refused') return 'it was refused'
    if (state === 'expired') return post.timeToLiveMs === undefined ? 'it does not expire' : undefined
    if (state === 'rejected' && result === '') return 'it has no reason'
    if (state === 'rejected') return this.#parts.isRejected(name) ? undefined : 'no program has rejected it'
    if (!this.#parts.isHandled(name)) return 'no handler has ended'
    if (result === '' && this.#parts.hasRemovedDevices(name.slice(0, name.indexOf(' ')))) return undefined
    return result === resultFor(name) ? undefined : `it has the result "${result}"`
  }

  /** Checks, some time after all faults have stopped, that each receipt has arrived. */
  settled(): void {
    for (const name of this.owed) {
      const post = this.#parts.post(keyIn(name))
      this.#fail(`${post?.sender} never got the receipt of ${name.split(' ')[0]} for ${post?.name}`)
    }
  }

  #fail(what: string): void {
    this.#parts.trace.fail(what)
  }
}

const keyIn = (name: string) => name.slice(name.indexOf(' ') + 1)

/** Returns the result of the handler of a user for a message. */
export const resultFor = (name: string): string => `done: ${name}`
