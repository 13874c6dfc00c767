import type { OspError } from '../../errors.ts'
import { deferred } from '../../runtime/deferred.ts'
import type { MessageHandler, Receiver } from './message.ts'

/** A receiver as the inbox drives it. */
export class ActiveReceiver implements Receiver {
  readonly handler: MessageHandler
  readonly #stopped: (receiving: ActiveReceiver) => Promise<void>
  readonly #stopping = new AbortController()
  readonly #finished = deferred<void>()

  /** `stopped` resolves when its handler is not at work any more. */
  constructor(handler: MessageHandler, stopped: (receiving: ActiveReceiver) => Promise<void>) {
    this.handler = handler
    this.#stopped = stopped
  }

  get finished(): Promise<void> {
    return this.#finished.promise
  }

  /** Aborts when it takes no further message; with an OspError as the reason where it can't go on. */
  get signal(): AbortSignal {
    return this.#stopping.signal
  }

  /** Lets nothing more be handed to it. */
  stop(): void {
    this.#stopping.abort()
  }

  /** It is over: with `why` where it could not go on. */
  end(why?: OspError): void {
    this.#stopping.abort(why)
    if (why) this.#finished.reject(why)
    else this.#finished.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop()
    await this.#stopped(this)
    this.end()
  }
}
