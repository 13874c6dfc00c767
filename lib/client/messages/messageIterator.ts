import { OspError } from '../../errors.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { ActiveReceiver } from './inbox.ts'
import type { Message, MessageHandler } from './message.ts'

type Next = IteratorResult<Message, undefined>

interface Handed {
  readonly message: Message
  /** Resolves when the caller has handled the message; rejects if it left the loop before. */
  readonly handled: Deferred<void>
}

/** Iterates over the messages of a receiver. `next` acknowledges the message before. */
export class MessageIterator implements AsyncIterableIterator<Message> {
  readonly #receiver: ActiveReceiver
  readonly #wanted: Deferred<Next>[] = []
  /** A message that waits for a call of `next`. */
  #ready: Handed | undefined
  /** The message that was returned last, until it is handled. */
  #out: Handed | undefined
  #ended = false
  #error: unknown

  constructor(receive: (handler: MessageHandler) => ActiveReceiver) {
    this.#receiver = receive((message) => this.#take({ message, handled: deferred() }))
    const { signal, done } = this.#receiver
    signal.addEventListener('abort', () => this.#leave(), { once: true })
    done.then(
      () => this.#end(undefined),
      (error: unknown) => this.#end(error),
    )
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Rejects once with the error that ended the receiver; after that the iteration has ended. */
  async next(): Promise<Next> {
    this.#out?.handled.resolve()
    this.#out = undefined
    if (this.#error) {
      const error = this.#error
      this.#error = undefined
      throw error
    }
    if (this.#ended) return { done: true, value: undefined }
    const wanted = deferred<Next>()
    this.#wanted.push(wanted)
    this.#give()
    return wanted.promise
  }

  async return(): Promise<Next> {
    await this.#receiver[Symbol.asyncDispose]()
    return { done: true, value: undefined }
  }

  #take(handed: Handed): Promise<void> {
    this.#ready = handed
    this.#give()
    return handed.handled.promise
  }

  #give(): void {
    const handed = this.#ready
    const wanted = handed && this.#wanted.shift()
    if (!wanted) return
    this.#ready = undefined
    // A caller that has asked for the next message already has handled this one.
    if (this.#wanted.length > 0) handed.handled.resolve()
    else this.#out = handed
    wanted.resolve({ done: false, value: handed.message })
  }

  /** Rejects the waiting message. The returned message is rejected only if the loop was left: after an error its caller still handles it. */
  #leave(): void {
    const left = new Error('the loop over the messages was left')
    this.#ready?.handled.reject(left)
    if (!(this.#receiver.signal.reason instanceof OspError)) this.#out?.handled.reject(left)
  }

  #end(error: unknown): void {
    this.#ended = true
    const [first, ...others] = this.#wanted.splice(0)
    if (error && first) first.reject(error)
    else first?.resolve({ done: true, value: undefined })
    if (!first) this.#error = error
    for (const wanted of others) wanted.resolve({ done: true, value: undefined })
  }
}
