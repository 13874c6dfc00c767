import type { OspError } from '../../errors.ts'
import { type Deferred, deferred } from '../../runtime/deferred.ts'
import type { RecipientState } from './message.ts'
import type { Outgoing } from './outgoing.ts'

/** A message for a stored outbox, and the promises of its sender. */
export class OutboxEntry {
  readonly outgoing: Outgoing
  readonly queuedAt: number
  /** Its number in the outbox; 0 at first. */
  number = 0
  /** Resolves when the store has it. */
  readonly queued: Deferred<void> = deferred()
  readonly stored: Deferred<readonly RecipientState[]> = deferred()
  /** The reason if the server has temporarily refused it. */
  refusal: OspError | undefined
  /** Whether `stored` is settled. */
  isOver = false
  isAbandoned = false
  /** Called when the server has temporarily refused it, and when it leaves the outbox without being stored. */
  refused: (error: OspError, isKept: boolean) => void = () => {}

  constructor(outgoing: Outgoing, queuedAt: number) {
    this.outgoing = outgoing
    this.queuedAt = queuedAt
  }

  resolve(states: readonly RecipientState[]): void {
    this.isOver = true
    this.stored.resolve(states)
  }

  reject(error: OspError): void {
    this.isOver = true
    this.queued.reject(error)
    this.stored.reject(error)
  }
}
