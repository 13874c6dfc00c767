import type { Digests } from '../../lib/ports/platform.ts'
import type { OwnLayers } from './layers.ts'
import type { Part } from './troubles.ts'
import { type RunReport, World, type WorldKind } from './world.ts'

export type { Part } from './troubles.ts'
export type { RunReport, WorldKind } from './world.ts'

/**
 * Runs the real server and clients of one seed in virtual time. The same seed gives the same run, to the last line of
 * its trace. `part`: only that takes place, everything if it is not given.
 */
export function simulate(
  seed: number,
  digests: Digests,
  kind: WorldKind = 'both',
  part?: Part,
  own: OwnLayers = {},
): Promise<RunReport> {
  return new World(seed, digests, kind, part, own).run()
}
