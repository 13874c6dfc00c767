/** A bound that several holders have in common: how much there may be, and how much there is. */
export interface Pool {
  readonly most: number
  readonly held: number
}

/**
 * Limits one holder of a pool to a share of it, as a switch limits a queue of its shared buffer (Choudhury and Hahne, dynamic
 * thresholds): what the holder has is never more than a fixed multiple of what is left free. `percent` is what a holder that is
 * alone may have; at 50 each may have as much as is left. So N holders that take all they can leave a place for another one, who
 * never has to wait for them: at 50 each has 1/(N + 1) of the pool, and as much is free. At 100 there are no shares.
 * What is free may always be taken by a holder that has nothing.
 */
export function fitsShare({ most, held }: Pool, own: number, more: number, percent: number): boolean {
  const free = most - held - more
  return free >= 0 && (own === 0 || shareReserve(own + more, percent) <= free)
}

/** What a holder of `own` must leave free of a pool, so that it keeps to its share. */
export function shareReserve(own: number, percent: number): number {
  return percent < 100 ? (own * (100 - percent)) / percent : 0
}
