import { clientLimits } from '../../limits.ts'
import type { Platform } from '../../ports/platform.ts'
import { Backoff } from '../../runtime/backoff.ts'

/** Returns the waits between the tries of a request that the server refuses for a limited time. */
export function refusalBackoff({ clock, random }: Pick<Platform, 'clock' | 'random'>, retryForMs: number): Backoff {
  const { reconnectFirstMs: firstMs, reconnectMostMs: mostMs } = clientLimits
  const fraction = () => random.fraction('refused upload')
  return new Backoff({ clock, firstMs, mostMs, retryForMs, fraction, automaticAtOnce: true })
}
