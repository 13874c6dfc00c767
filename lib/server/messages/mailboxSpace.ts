import type { Clock } from '../../ports/platform.ts'

/** A post waits for space as long as the recipient of a full mailbox has handled a message within this time. */
const stalledMs = 2_000

/** Lets posts to full mailboxes wait while their recipients handle messages. */
export class MailboxSpace {
  readonly #clock: Clock
  /** By listening user, when messages last left the mailbox, or the user began to listen. */
  readonly #freedAt = new Map<string, number>()
  readonly #waiting = new Set<{ readonly users: readonly string[]; readonly end: () => void }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Number of posts that wait. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Records that messages have left the mailbox of a user, or that the user begins to listen. */
  freed(user: string): void {
    this.#freedAt.set(user, this.#clock.now())
    this.#end((users) => users.includes(user))
  }

  /** Records that a user no longer listens. */
  stopped(user: string): void {
    this.#freedAt.delete(user)
    this.#end((users) => users.includes(user))
  }

  /** Ends all waiting. */
  close(): void {
    this.#freedAt.clear()
    this.#end(() => true)
  }

  /**
   * Resolves with true when one of these mailboxes may have more space, or with false at once if waiting is of no use: one of
   * the users handles no messages, or `untilMs` is reached.
   */
  async wait(users: readonly string[], untilMs: number): Promise<boolean> {
    const stalledAt = users.map((user) => (this.#freedAt.get(user) ?? Number.NEGATIVE_INFINITY) + stalledMs)
    const lastMs = Math.min(untilMs, ...stalledAt)
    if (lastMs <= this.#clock.now()) return false
    await new Promise<void>((resolve) => {
      const alarm = this.#clock.alarm(lastMs, () => waiting.end())
      const waiting = {
        users,
        end: () => {
          alarm[Symbol.dispose]()
          this.#waiting.delete(waiting)
          resolve()
        },
      }
      this.#waiting.add(waiting)
    })
    return true
  }

  #end(isMeant: (users: readonly string[]) => boolean): void {
    for (const waiting of [...this.#waiting]) if (isMeant(waiting.users)) waiting.end()
  }
}
