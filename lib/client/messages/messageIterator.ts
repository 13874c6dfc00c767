import { OspError } from '../../errors.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { ActiveReceiver } from './inbox.ts'
import type { Message, MessageHandler } from './message.ts'

interface Handed {
  readonly message: Message
  /** Resolves when the caller has handled the message; rejects if it left the loop before. */
  readonly handled: Deferred<void>
}

/** Iterates over the messages of a receiver. `next` acknowledges the message before. */
export function iterateMessages(receive: (handler: MessageHandler) => ActiveReceiver): AsyncIterableIterator<Message> {
  /** The message that waits for a call of `next`. */
  let waiting: Handed | undefined
  /** The message that was returned last, until it is handled. */
  let returned: Handed | undefined
  let changed = deferred<void>()

  const receiver = receive((message) => {
    waiting = { message, handled: deferred() }
    changed.resolve()
    return waiting.handled.promise
  })
  const { stopping, done } = receiver
  const { signal } = stopping
  const ended = () => changed.resolve()
  done.then(ended, ended)
  onAbort(signal, (reason) => {
    const left = new Error('the loop over the messages was exited')
    waiting?.handled.reject(left)
    waiting = undefined
    // After an error of the receiver the caller still handles the returned message.
    if (!(reason instanceof OspError)) returned?.handled.reject(left)
  })

  async function* messages(): AsyncGenerator<Message, undefined> {
    for (;;) {
      if (!signal.aborted) await changed.promise
      if (!waiting) return await done.then(() => undefined)
      returned = waiting
      waiting = undefined
      changed = deferred()
      yield returned.message
      returned.handled.resolve()
    }
  }

  const generator = messages()
  return {
    next: () => generator.next(),
    async return() {
      await receiver[Symbol.asyncDispose]()
      return generator.return(undefined)
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
