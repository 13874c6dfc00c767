import { OspError } from '../../errors.ts'
import type { OutboxStore } from '../../ports/clientState.ts'
import type { Clock } from '../../ports/platform.ts'
import { remoteOrOwn } from '../tasks/remoteOrOwn.ts'
import { askOutbox, outboxAnswers, outboxRequestBounds, readMessageFailure } from './outboxRequests.ts'

/** A message in an outbox. */
export interface OutboxMessage {
  /** Its number in the outbox. */
  readonly number: number
  readonly id: string
  readonly recipients: readonly string[]
  /** The size of its headers and content. */
  readonly bytes: number
  readonly queuedAt: Date
  /** The reason if the server has temporarily refused it. */
  readonly refusal?: OspError | undefined
}

/** Controls the outbox of a state, even while a program is sending its messages. */
export interface OutboxControl {
  /** Returns the messages in the order of the outbox. */
  list(): Promise<readonly OutboxMessage[]>
  /** Removes messages. A message that was already sent can reach its recipients. Resolves with the numbers of those it has removed. */
  remove(numbers: readonly number[]): Promise<readonly number[]>
}

/** Returns the control of an outbox: by the program that uses it, or by this one. */
export function outboxController(store: OutboxStore, clock: Clock): OutboxControl {
  const { control } = store
  const alone = async <T>(act: () => Promise<T>): Promise<T> => {
    await using _ = await control?.serve(() => {
      // The other programs try again after a moment.
      throw new OspError('shutting-down', 'the outbox is being changed')
    })
    return await act()
  }
  const carryOut = <T>(remote: (control: NonNullable<OutboxStore['control']>) => Promise<T>, own: () => Promise<T>) =>
    control
      ? remoteOrOwn(
          clock,
          () => remote(control),
          () => alone(own),
        )
      : own()
  const stored = async () => {
    return (await store.load()).map(({ number, id, recipients, body, queuedAt }) => {
      return { number, id, recipients, bytes: body.length, queuedAt: new Date(queuedAt) }
    })
  }
  return {
    list: () => carryOut(listed, stored),
    remove: (numbers) =>
      carryOut(
        async (other) => {
          const all: number[] = []
          for (let at = 0; at < numbers.length; at += outboxRequestBounds.items) {
            const part = numbers.slice(at, at + outboxRequestBounds.items)
            all.push(...(await askOutbox(other, { do: 'remove', numbers: part }, outboxAnswers.remove)).removed)
          }
          return all
        },
        async () => {
          const wanted = new Set(numbers)
          const found = (await stored()).map(({ number }) => number).filter((number) => wanted.has(number))
          if (found.length > 0) await store.remove(found)
          return found
        },
      ),
  }
}

async function listed(control: NonNullable<OutboxStore['control']>): Promise<readonly OutboxMessage[]> {
  const all: OutboxMessage[] = []
  for (;;) {
    const { messages, more } = await askOutbox(
      control,
      { do: 'list', after: all.at(-1)?.number ?? 0 },
      outboxAnswers.list,
    )
    for (const { queuedAt, refusal: failure, ...message } of messages) {
      const refusal = failure && readMessageFailure(failure)
      all.push({ ...message, queuedAt: new Date(queuedAt), ...(refusal && { refusal }) })
    }
    if (!more) return all
  }
}
