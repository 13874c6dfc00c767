/** The most that one jump of the wall clock counts. */
const mostJumpMs = 3_600_000

/**
 * The time by which age limits are counted. It follows the wall clock, so that it continues while the program is not running, but
 * it never goes back, and a jump forward counts as at most one hour (docs/protocol.md, "Messages", Time). So a clock that was set
 * wrongly for a moment expires nothing.
 */
export class AgeClock {
  #time: number
  #mono: number
  /** The largest difference between the clocks so far. Only a larger one is a jump: going back and forth adds nothing. */
  #lead: number

  /** Continues from `last`, the latest stored time, or 0 if there is none. `wall` and `mono` are the two clocks in ms. */
  constructor(last: number, wall: number, mono: number) {
    this.#time = last === 0 ? Math.max(0, wall) : last + Math.min(Math.max(0, wall - last), mostJumpMs)
    this.#mono = mono
    this.#lead = wall - mono
  }

  /** Returns the time in whole milliseconds, roughly since 1970. */
  now(wall: number, mono: number): number {
    const jump = Math.max(0, wall - mono - this.#lead)
    this.#time += mono - this.#mono + Math.min(jump, mostJumpMs)
    this.#mono = mono
    this.#lead += jump
    return Math.floor(this.#time)
  }
}
