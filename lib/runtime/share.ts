/** A limit that several holders share: its maximum and its present use. */
export interface SharedPool {
  readonly most: number
  readonly held: number
}

/**
 * Limits one holder to a share of a common limit, as a switch limits a queue of its shared buffer (Choudhury and Hahne, dynamic
 * thresholds): a holder never uses more than a fixed multiple of the free part. `percent` is the share of a holder that is
 * alone; at 50 each holder may use as much as is free. So N holders that use all they can leave a place for another one: at 50
 * each uses 1/(N + 1), and as much is free. At 100 there are no shares. A holder that uses nothing may always use the free part.
 */
export function fitsShare({ most, held }: SharedPool, own: number, more: number, percent: number): boolean {
  const free = most - held - more
  return free >= 0 && (own === 0 || shareReserve(own + more, percent) <= free)
}

/** Returns the part that a holder of `own` must leave free to stay within its share. */
export function shareReserve(own: number, percent: number): number {
  return percent < 100 ? (own * (100 - percent)) / percent : 0
}
