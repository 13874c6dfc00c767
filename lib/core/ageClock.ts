/** A jump of the wall clock counts as so long at most. */
const mostJumpMs = 3_600_000

/**
 * The time that age limits are counted by: it follows the wall clock, so that it goes on while the program is not
 * running, but it never falls, and a jump forward counts as one hour (docs/protocol.md, "Messages", Time). So a clock that was
 * set wrongly for a moment makes nothing expire.
 */
export class AgeClock {
  #time: number
  #wall: number
  #mono: number

  /** Goes on from `last`, the latest time that was kept, 0 if none. `wall` and `mono` are ms of the two clocks of now. */
  constructor(last: number, wall: number, mono: number) {
    this.#time = last === 0 ? wall : last + Math.min(Math.max(0, wall - last), mostJumpMs)
    this.#wall = wall
    this.#mono = mono
  }

  /** Milliseconds, whole; about those since 1970. */
  now(wall: number, mono: number): number {
    const passed = mono - this.#mono
    const jump = wall - this.#wall - passed
    this.#time += passed + Math.min(Math.max(0, jump), mostJumpMs)
    this.#wall = wall
    this.#mono = mono
    return Math.floor(this.#time)
  }
}
