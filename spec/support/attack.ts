import { defaultLimits } from '../../lib/limits.ts'
import type { serverKinds } from './attackedServers.ts'
import type { Target } from './bareLink.ts'

/** Limits on the effect of an attack on a server and its honest client. */
export interface AttackBounds {
  /** Increase of the p99 latency of the honest client's pings, in ms. */
  readonly pingMs: number
  /** Increase of the server's memory. */
  readonly memoryMiB: number
  /** Log lines in each span of ten seconds, except those about the honest client. */
  readonly lines: number
}

export const usualBounds: AttackBounds = { pingMs: 50, memoryMiB: 200, lines: 10 * defaultLimits.logLinesPerUser }

export interface Attack {
  readonly name: string
  /** Default: `open`. */
  readonly server?: keyof typeof serverKinds
  /** Differences from `usualBounds`. */
  readonly bounds?: Partial<AttackBounds>
  /** Attacks until its process is killed, or `signal` aborts. */
  readonly run: (target: Target, signal: AbortSignal) => Promise<void>
}
