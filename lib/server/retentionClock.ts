import { AgeClock } from '../core/ageClock.ts'
import type { MailboxStore } from '../ports/mailboxes.ts'
import type { Clock } from '../ports/platform.ts'

/**
 * The time that the age limits of messages, of unfinished uploads and of notes of completed ones go by, one for the whole
 * server. It goes on from the latest time that the mailboxes keep: they are told it at every sweep of old messages.
 */
export class RetentionClock {
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

  /** Milliseconds, whole; those of the wall clock before it was opened. */
  now(): number {
    const wall = this.#clock.wallTime()
    return this.#age?.now(wall, this.#clock.now()) ?? Math.floor(wall)
  }

  /** The clock with this time in place of the wall's. */
  get clock(): Clock {
    const clock = this.#clock
    return { now: () => clock.now(), alarm: (atMs, run) => clock.alarm(atMs, run), wallTime: () => this.now() }
  }
}
