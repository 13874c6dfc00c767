import type { Digests } from '../ports/platform.ts'
import { type RunReport, World } from './world.ts'

export type { RunReport } from './world.ts'

/**
 * Runs the real server and clients of one seed in virtual time. The same seed gives the same run, to the last line of
 * its trace. `digests` must have loaded what clients use.
 */
export function simulate(seed: number, digests: Digests): Promise<RunReport> {
  return new World(seed, digests).run()
}
