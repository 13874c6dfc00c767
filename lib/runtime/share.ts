/** A limit that several holders share: its maximum and its current use. */
type SharedPool = Readonly<Record<'most' | 'held', number>>

/**
 * Returns whether a holder of `own` may use `more` of a shared limit. As in the shared buffer of a switch (Choudhury and Hahne,
 * dynamic thresholds), a holder never uses more than a fixed multiple of the free part. `percent` is the share of a holder
 * that is alone. At 50, each holder may use as much as is free, so that with N busy holders each uses 1/(N + 1), and as much is
 * free for another one. At 100 there are no shares. A holder that uses nothing may use all of the free part.
 */
export function fitsShare({ most, held }: SharedPool, own: number, more: number, percent: number): boolean {
  const free = most - held - more
  return free >= 0 && (own === 0 || shareReserve(own + more, percent) <= free)
}

/**
 * Returns whether a holder of `own` may use `more` in several parts, each of which is subject to `fitsShare`: after the first
 * part, the holder uses something.
 */
export function partsFitShare({ most, held }: SharedPool, own: number, more: number, percent: number): boolean {
  return shareReserve(own + more, percent) <= most - held - more
}

/** Returns the amount that a holder of `own` must leave free to stay within its share. */
export function shareReserve(own: number, percent: number): number {
  return percent < 100 ? (own * (100 - percent)) / percent : 0
}
