import type { Holder } from '../../core/pool.ts'
import { fixed } from '../../limits.ts'

/**
 * Instances that a link has lost, for as long as chunks for them may be under way: they must not be taken for those of
 * another upload.
 */
export class QuarantinedInstances {
  /** For each link, by instance, until when. */
  readonly #untilMs = new WeakMap<Holder, Map<number, number>>()

  add(number: number, holder: Holder | undefined, now: number): void {
    if (!holder) return
    const own = this.#untilMs.get(holder) ?? new Map<number, number>()
    this.#untilMs.set(holder, own.set(number, now + fixed.frameLifetimeMs))
  }

  has(number: number, holder: Holder, now: number): boolean {
    return (this.#untilMs.get(holder)?.get(number) ?? 0) > now
  }
}
