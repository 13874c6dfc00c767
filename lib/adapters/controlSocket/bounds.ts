import { KiB, MiB } from '../../limits.ts'

/** What both ends of a control socket keep to. */
export const controlBounds = {
  /** A request's line. */
  requestBytes: 64 * KiB,
  /** An answer's line, and what may wait for one client that has not taken it yet. */
  unsentBytes: 8 * MiB,
  /** Clients at once that are served … */
  connections: 32,
  /** … and those that are told that it is one too many. Others are cut off at once. */
  refused: 32,
  /** How long either side waits for the other: for its request, to take an answer, to close. */
  silenceMs: 10_000,
} as const
