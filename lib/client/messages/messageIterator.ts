import { OspError } from '../../errors.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { ActiveReceiver } from './activeReceiver.ts'
import type { Message, MessageHandler } from './message.ts'

type Next = IteratorResult<Message, undefined>

interface Handed {
  readonly message: Message
  /** Resolves when the message has been dealt with; rejects where the loop was left before. */
  readonly handled: Deferred<void>
}

/** The messages of a receiver, one after another: asking for the next one acknowledges the one before. */
export class MessageIterator implements AsyncIterableIterator<Message> {
  readonly #receiving: ActiveReceiver
  readonly #wanted: Deferred<Next>[] = []
  /** Nobody has asked for it yet. */
  #ready: Handed | undefined
  /** Was given out, and is not dealt with yet. */
  #out: Handed | undefined
  #over = false
  #why: unknown

  constructor(receive: (handler: MessageHandler) => ActiveReceiver) {
    this.#receiving = receive((message) => this.#take({ message, handled: deferred() }))
    const { signal, finished } = this.#receiving
    signal.addEventListener('abort', () => this.#leave(), { once: true })
    finished.then(
      () => this.#end(undefined),
      (why: unknown) => this.#end(why),
    )
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Rejects with why there are no more, once; afterwards there are none. */
  async next(): Promise<Next> {
    this.#out?.handled.resolve()
    this.#out = undefined
    if (this.#why) {
      const why = this.#why
      this.#why = undefined
      throw why
    }
    if (this.#over) return { done: true, value: undefined }
    const wanted = deferred<Next>()
    this.#wanted.push(wanted)
    this.#give()
    return wanted.promise
  }

  async return(): Promise<Next> {
    await this.#receiving[Symbol.asyncDispose]()
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
    // Who has asked for the next one already is done with this one.
    if (this.#wanted.length > 0) handed.handled.resolve()
    else this.#out = handed
    wanted.resolve({ done: false, value: handed.message })
  }

  /** Where it can't go on, what is out is still dealt with; where it was left, it is not. */
  #leave(): void {
    const left = new Error('the loop over the messages was left')
    this.#ready?.handled.reject(left)
    if (!(this.#receiving.signal.reason instanceof OspError)) this.#out?.handled.reject(left)
  }

  #end(why: unknown): void {
    this.#over = true
    const [first, ...others] = this.#wanted.splice(0)
    if (why && first) first.reject(why)
    else first?.resolve({ done: true, value: undefined })
    if (!first) this.#why = why
    for (const wanted of others) wanted.resolve({ done: true, value: undefined })
  }
}
