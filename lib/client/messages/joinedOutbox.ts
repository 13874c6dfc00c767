import { OspError } from '../../errors.ts'
import type { Control } from '../../ports/control.ts'
import { deferred } from '../../runtime/deferred.ts'
import { GroupCommit, type Uncommitted } from '../../runtime/groupCommit.ts'
import { hex } from '../../runtime/hex.ts'
import { groupsOf } from '../tasks/requests.ts'
import type { OutboxEntry } from './outboxEntry.ts'
import {
  askOutbox,
  type MessageOutcome,
  outboxAnswers,
  outboxRequestBounds,
  readMessageFailure,
  readOutboxAnswer,
} from './outboxRequests.ts'

type Refused = (entry: OutboxEntry, error: OspError, isKept: boolean) => void

/** The outbox of a state that another program uses, to which this program adds its messages. */
export class JoinedOutbox {
  readonly #control: Control
  readonly #leaving = new AbortController()
  /** Called when the other program has ended. */
  readonly #lost: () => void
  readonly #refused: Refused
  readonly #entries = new Map<number, OutboxEntry>()
  /** The outcomes of unknown messages, some of which this program may be adding. */
  readonly #outcomes: MessageOutcome[] = []
  readonly #additions = new GroupCommit<OutboxEntry>({ commit: (group) => this.#commit(group) })
  #adding = 0
  #subscriber = 0

  private constructor(control: Control, lost: () => void, refused: Refused) {
    this.#control = control
    this.#lost = lost
    this.#refused = refused
  }

  /** Joins the program that uses the outbox. Rejects as `Control.ask` does if there is none. */
  static async join(control: Control, lost: () => void, refused: Refused): Promise<JoinedOutbox> {
    const outbox = new JoinedOutbox(control, lost, refused)
    const numbered = deferred<number>()
    let isJoined = false
    const take = (answer: unknown) => {
      const read = readOutboxAnswer(outboxAnswers.await, answer)
      if ('waiter' in read) numbered.resolve(read.waiter)
      else outbox.#take(read)
    }
    const ended = (error: unknown) => {
      if (isJoined && !outbox.#leaving.signal.aborted) outbox.#lost()
      numbered.reject(error)
    }
    control.ask({ do: 'await' }, take, outbox.#leaving.signal).then(() => ended(new OspError('link-lost')), ended)
    outbox.#subscriber = await numbered.promise
    isJoined = true
    return outbox
  }

  /** Whether no message of this program waits. */
  get isIdle(): boolean {
    return this.#entries.size === 0 && this.#adding === 0
  }

  /** Adds a message. Resolves when the store has it. Rejects with the error of the other program, or if that has ended. */
  async add(entry: OutboxEntry): Promise<void> {
    this.#adding++
    try {
      entry.number = 0
      await this.#additions.add(entry)
    } finally {
      this.#adding--
    }
    entry.queued.resolve()
    if (entry.isAbandoned) this.abandon(entry)
    else this.#entries.set(entry.number, entry)
    for (const outcome of this.#outcomes.splice(0)) this.#take(outcome)
  }

  /** Removes a message from the outbox. */
  abandon(entry: OutboxEntry): void {
    entry.isAbandoned = true
    entry.reject(new OspError('closed', 'the message was abandoned; it is unknown whether it was stored'))
    if (entry.number === 0) return
    this.#entries.delete(entry.number)
    // If the other program has ended, the message stays in the outbox.
    askOutbox(this.#control, { do: 'remove', numbers: [entry.number] }, outboxAnswers.remove).catch(() => {})
  }

  /** Disconnects. The other program sends the added messages. */
  leave(): void {
    this.#leaving.abort()
  }

  async #commit(group: readonly Uncommitted<OutboxEntry>[]): Promise<void> {
    const messages = group.map(({ item }) => {
      const { messageId, recipients, body } = item.outgoing.message
      return { id: hex(messageId), recipients: [...recipients], body: hex(body) }
    })
    let at = 0
    for (const part of groupsOf(messages, outboxRequestBounds.items, outboxRequestBounds.bytes)) {
      const request = { do: 'add', messages: part, waiter: this.#subscriber } as const
      const { added } = await askOutbox(this.#control, request, outboxAnswers.add)
      for (const outcome of added) {
        const each = group[at++]
        if (!each) throw new OspError('malformed', 'the answer has too many messages')
        if ('number' in outcome) {
          each.item.number = outcome.number
          // This message stays added even if a later request fails.
          each.resolve()
        } else each.reject(readMessageFailure(outcome))
      }
    }
  }

  #take(outcome: MessageOutcome): void {
    const entry = this.#entries.get(outcome.number)
    if (!entry) {
      if (this.#adding > 0) this.#outcomes.push(outcome)
      return
    }
    if ('states' in outcome) {
      this.#entries.delete(outcome.number)
      entry.resolve(outcome.states)
      return
    }
    const error = readMessageFailure(outcome.error)
    if (outcome.isKept) entry.refusal = error
    else {
      this.#entries.delete(outcome.number)
      entry.reject(error)
    }
    this.#refused(entry, error, outcome.isKept)
  }
}
