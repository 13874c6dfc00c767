import type { Pieces } from './target.ts'

/**
 * Returns a smaller case that also fails: without pieces, and bytes of pieces, that are not needed for the failure.
 * Tries at most `mostTries` cases.
 */
export async function shrunk(
  pieces: Pieces,
  fails: (pieces: Pieces) => Promise<boolean>,
  mostTries = 2_000,
): Promise<Pieces> {
  let left = mostTries
  const stillFails = async (smaller: Pieces) => left-- > 0 && (await fails(smaller))
  let best = await without(pieces, (some) => stillFails(some))
  for (let at = best.length - 1; at >= 0; at--) {
    const withPiece = (piece: ArrayLike<number>) => best.with(at, Uint8Array.from(piece))
    const bytes = await without(Array.from(best[at] ?? []), (some) => stillFails(withPiece(some)))
    best = withPiece(bytes)
  }
  return best
}

/** Removes as many items as possible, by leaving out shorter and shorter runs of them. */
async function without<T>(
  items: readonly T[],
  fails: (fewer: readonly T[]) => Promise<boolean>,
): Promise<readonly T[]> {
  let best = items
  for (let length = Math.ceil(items.length / 2); length > 0; length = length === 1 ? 0 : Math.ceil(length / 2)) {
    for (let at = 0; at < best.length; ) {
      const fewer = best.toSpliced(at, length)
      if (await fails(fewer)) best = fewer
      else at += length
    }
  }
  return best
}
