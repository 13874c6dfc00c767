import type { Limits } from '../limits.ts'
import type { MailboxStore } from '../ports/mailboxes.ts'
import type { Clock } from '../ports/platform.ts'
import type { Delivery } from './delivery.ts'
import type { ServerLog } from './logEvents.ts'

/** What a delivery needs of the mailroom. */
export interface DeliveryHost {
  readonly mailboxes: MailboxStore
  readonly limits: Limits
  readonly clock: Clock
  readonly log: ServerLog
  /** What was in a mailbox up to here when the server started may have been delivered before. */
  readonly oldSeq: number
  /** Puts the delivery at the tail of the sending work. */
  ready(delivery: Delivery): void
  /** Bytes of content are held in memory for a socket to take; negative: no more. */
  hold(bytes: number): void
  /** Whether more may be read into memory. Where not, `ready` follows once it may. */
  mayRead(delivery: Delivery): boolean
  /** A mailbox was read: perhaps some of it could not be. */
  looked(): Promise<void>
  /** Closing waits for it; it does not reject. */
  underWay(work: Promise<void>): void
}
