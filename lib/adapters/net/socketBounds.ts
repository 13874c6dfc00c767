import { KiB, MiB } from '../../limits.ts'

/** The limits of a socket, for every kind of stream. */
export const socketBounds = {
  /** The number of unsent bytes from which `send` returns false: one of the longest chunks and some small frames. */
  fullBytes: 2 * MiB + 64 * KiB,
  /** How long a closing socket waits for the peer to read the sent bytes and to close. */
  lingerMs: 2_000,
  /** The number of connections from balancers that wait for their PROXY header. Another one replaces the oldest. */
  proxyHeaders: 4_096,
} as const
