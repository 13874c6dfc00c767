import { deferred } from '../../runtime/deferred.ts'
import { onAbort } from '../../runtime/wait.ts'
import type { ActiveReceiver } from './inbox.ts'
import type { Message, MessageHandler } from './message.ts'

/**
 * Iterates over the messages of a manual receiver. With `acknowledges`, `next` acknowledges the previous message, unless it was
 * answered.
 */
export function iterateMessages(
  receive: (handler: MessageHandler) => ActiveReceiver,
  acknowledges: boolean,
): AsyncIterableIterator<Message> {
  /** The messages that wait for a call of `next`. */
  const waiting: Message[] = []
  let changed = deferred<void>()

  const receiver = receive((message) => {
    waiting.push(message)
    changed.resolve()
  })
  const { stopping, done } = receiver
  const { signal } = stopping
  const ended = () => changed.resolve()
  done.then(ended, ended)
  onAbort(signal, () => {
    for (const message of waiting.splice(0)) message.nak()
  })

  async function* messages(): AsyncGenerator<Message, undefined> {
    for (;;) {
      while (waiting.length === 0 && !signal.aborted) {
        changed = deferred()
        await changed.promise
      }
      const message = waiting.shift()
      if (!message) return await done.then(() => undefined)
      yield message
      if (acknowledges) void message.ack()
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
