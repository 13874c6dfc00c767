/** A jump of the wall clock counts as so long at most. */
const mostJumpMs = 3_600_000

/**
 * The time that age limits are counted by: it follows the wall clock, so that it goes on while the program is not
 * running, but it never falls, and a jump forward counts as one hour (docs/protocol.md, "Messages", Time). So a clock that was
 * set wrongly for a moment makes nothing expire.
 */
export class AgeClock {
  #time: number
  #mono: number
  /**
   * How far the wall clock has been ahead of the monotonic one at most. Only what goes beyond counts as a jump: the two never
   * tick at the same moment, and a clock that goes back and forth would make the time run.
   */
  #lead: number

  /** Goes on from `last`, the latest time that was kept, 0 if none. `wall` and `mono` are ms of the two clocks of now. */
  constructor(last: number, wall: number, mono: number) {
    this.#time = last === 0 ? Math.max(0, wall) : last + Math.min(Math.max(0, wall - last), mostJumpMs)
    this.#mono = mono
    this.#lead = wall - mono
  }

  /** Milliseconds, whole; about those since 1970. */
  now(wall: number, mono: number): number {
    const jump = Math.max(0, wall - mono - this.#lead)
    this.#time += mono - this.#mono + Math.min(jump, mostJumpMs)
    this.#mono = mono
    this.#lead += jump
    return Math.floor(this.#time)
  }
}
