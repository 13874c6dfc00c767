import { nodePlatform } from '../../../lib/node.ts'
import type { Platform } from '../../../lib/ports/platform.ts'

/** A platform on which a client reconnects soon, however often it has lost its link. */
export function eagerPlatform(): Platform {
  const real = nodePlatform()
  return { ...real, random: { ...real.random, fraction: (reason) => real.random.fraction(reason) / 50 } }
}
