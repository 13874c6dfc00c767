import { AgeClock } from '../core/ageClock.ts'
import type { MailboxStore } from '../ports/mailboxes.ts'
import type { Clock } from '../ports/platform.ts'

/**
 * The time that the age limits of messages and of unfinished uploads go by, one for the whole server. It goes on from the
 * latest time that the mailboxes keep: they are told it at every sweep of old messages.
 */
export class Age {
  readonly #clock: Clock
  readonly #mailboxes: Pick<MailboxStore, 'lastTime'>
  #age: AgeClock | undefined

  constructor(clock: Clock, mailboxes: Pick<MailboxStore, 'lastTime'>) {
    this.#clock = clock
    this.#mailboxes = mailboxes
  }

  /** Takes up the time as the open storage has it. */
  async open(): Promise<void> {
    this.#age = new AgeClock(await this.#mailboxes.lastTime(), this.#clock.wallTime(), this.#clock.now())
  }

  /** Milliseconds, whole; 0 before it was opened. */
  now(): number {
    return this.#age?.now(this.#clock.wallTime(), this.#clock.now()) ?? 0
  }
}
