import type { Digests } from '../../lib/ports/platform.ts'
import type { WorldKind } from './actions.ts'
import type { ClusterKind } from './cluster/clusterActions.ts'
import { ClusterWorld } from './cluster/clusterWorld.ts'
import type { Part } from './faults.ts'
import type { OwnLayers } from './layers.ts'
import { type RunReport, World } from './world.ts'

export type { WorldKind } from './actions.ts'
export type { Part } from './faults.ts'
export type { RunReport } from './world.ts'

/** The kind of a world: of one server, or of several servers. */
export type SimulatedKind = WorldKind | ClusterKind

/**
 * Runs the real server and clients of one seed in virtual time. The same seed produces the same run, to the last line
 * of its trace. Only `part` is executed; everything if it is absent.
 */
export function simulate(
  seed: number,
  digests: Digests,
  kind: SimulatedKind = 'both',
  part?: Part,
  own: OwnLayers = {},
): Promise<RunReport> {
  if (kind === 'files' || kind === 'messages' || kind === 'both') return new World(seed, digests, kind, part, own).run()
  return new ClusterWorld(seed, digests, kind, part).run()
}
