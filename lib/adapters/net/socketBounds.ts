import { KiB, MiB } from '../../limits.ts'

/** What the sockets of one machine keep to, whatever carries their bytes. */
export const socketBounds = {
  /** Unsent bytes from which `send` says that it is full: two of the longest chunks and some small frames. */
  fullBytes: 2 * MiB + 64 * KiB,
  /** How long a closing socket waits for its peer to take what was sent and to close as well. */
  lingerMs: 2_000,
} as const
