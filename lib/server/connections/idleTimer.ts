import type { Clock } from '../../ports/platform.ts'
import { Alarm } from '../../runtime/alarm.ts'

/** Notices that a link has asked nothing for a long time and holds nothing. */
export class IdleTimer {
  readonly #clock: Clock
  readonly #idleMs: number
  readonly #holds: () => boolean
  readonly #alarm: Alarm
  #askedAt: number

  /** `holds`: whether it holds something that it need not ask for; `over` runs once. */
  constructor(clock: Clock, idleMs: number, holds: () => boolean, over: () => void) {
    this.#clock = clock
    this.#idleMs = idleMs
    this.#holds = holds
    this.#askedAt = clock.now()
    this.#alarm = new Alarm(clock, () => {
      if (this.#holds()) this.asked()
      if (this.#endMs > clock.now()) this.#alarm.by(this.#endMs)
      else over()
    })
    this.#alarm.by(this.#endMs)
  }

  /** When the link last asked for something, or was answered. */
  get askedAtMs(): number {
    return this.#askedAt
  }

  /** The link has asked for something, or been answered. */
  asked(): void {
    this.#askedAt = this.#clock.now()
  }

  stop(): void {
    this.#alarm.stop()
  }

  get #endMs(): number {
    return this.#askedAt + this.#idleMs
  }
}
