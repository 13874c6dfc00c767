import type { Limits } from '../../limits.ts'
import type { MailboxStore } from '../../ports/mailboxes.ts'
import type { Clock } from '../../ports/platform.ts'
import type { ServerLog } from '../logEvents.ts'
import type { Delivery } from './delivery.ts'

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
  /** Bytes of content are held in memory for a socket to take; negative: no more. `heldBytes` says it already. */
  hold(delivery: Delivery, bytes: number): void
  /**
   * What may be read into memory: what the window has room for; where memory is full, one message for a delivery that holds
   * none, so that those whose sockets take nothing hold up nobody. Unless it is the window, `ready` follows once it may be more.
   */
  mayRead(delivery: Delivery): 'window' | 'one' | 'none'
  /** The delivery has read from its mailbox: perhaps some of it could not be. */
  looked(delivery: Delivery): Promise<void>
  /** Closing waits for it; it does not reject. */
  underWay(work: Promise<void>): void
}
