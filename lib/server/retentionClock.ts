import { AgeClock } from '../core/ageClock.ts'
import type { MailboxStore } from '../ports/mailboxes.ts'
import type { Clock } from '../ports/platform.ts'

/** The time by which the server expires data. It continues from the latest time in the mailboxes. */
export class RetentionClock {
  readonly #clock: Clock
  readonly #mailboxes: Pick<MailboxStore, 'lastTime'>
  #age: AgeClock | undefined

  constructor(clock: Clock, mailboxes: Pick<MailboxStore, 'lastTime'>) {
    this.#clock = clock
    this.#mailboxes = mailboxes
  }

  /** Continues from the time in the open storage. */
  async open(): Promise<void> {
    this.#age = new AgeClock(await this.#mailboxes.lastTime(), this.#clock.wallTime(), this.#clock.now())
  }

  /** Returns the time in whole milliseconds; before `open`, that of the wall clock. */
  now(): number {
    const wall = this.#clock.wallTime()
    return this.#age?.now(wall, this.#clock.now()) ?? Math.floor(wall)
  }

  /** The clock with this time in place of the wall time. */
  get clock(): Clock {
    const clock = this.#clock
    return { now: () => clock.now(), alarm: (atMs, run) => clock.alarm(atMs, run), wallTime: () => this.now() }
  }
}
