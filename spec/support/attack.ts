import { defaultLimits } from '../../lib/limits.ts'
import type { serverKinds } from './attackedServers.ts'
import type { Target } from './bareLink.ts'

/** What an attack may do to a server and its honest client. */
export interface AttackBounds {
  /** How much longer pings of the honest client take at p99, in ms, than without the attack. */
  readonly pingMs: number
  /** How much more memory the server takes. */
  readonly memoryMiB: number
  /** Lines in the log in each span of ten seconds, those about the honest client excepted. */
  readonly lines: number
}

export const usualBounds: AttackBounds = { pingMs: 50, memoryMiB: 200, lines: 10 * defaultLimits.logLinesPerUser }

export interface Attack {
  readonly name: string
  /** `open` unless told otherwise. */
  readonly server?: keyof typeof serverKinds
  /** What differs from `usualBounds`. */
  readonly bounds?: Partial<AttackBounds>
  /** Attacks until its process is killed, or `signal` aborts. */
  readonly run: (target: Target, signal: AbortSignal) => Promise<void>
}
