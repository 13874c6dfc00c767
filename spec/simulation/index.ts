/**
 * The simulated world: the real server and real clients in virtual time, on a faulty network and a disk that crashes.
 */
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { whole } from './faults.ts'
import type { OwnLayers } from './layers.ts'
import { type Least, shrink as shrinkRun } from './shrink.ts'
import { type Part, type RunReport, simulate as simulateBound, type WorldKind } from './simulate.ts'

export type { MortalPlace } from './mortalPlace.ts'
export type { Least } from './shrink.ts'
export type { Part, RunReport, WorldKind } from './simulate.ts'

/** The kind of a world (default: `both`), and the user's own layers or storage. */
export interface SimulateOptions extends OwnLayers {
  readonly kind?: WorldKind | undefined
  /** The part of the run to execute; default: all of it. */
  readonly part?: Part | undefined
}

/**
 * Runs the real server and real clients in virtual time, in a world generated from the seed. The same seed produces the
 * same run, to the last line of its trace, if layers use only the clock and the random numbers of the platform.
 * Resolves with the report; if an invariant was violated, `failure` names it. Rejects with a RangeError if a storage
 * layer is combined with a storage of the user's own.
 */
export async function simulate(seed: number, options: SimulateOptions = {}): Promise<RunReport> {
  const { kind = 'both', part, ...own } = options
  if (own.place && (own.storage || own.plainBytes))
    throw new RangeError(
      'give `place` or `storage`, not both: with a place of its own a world has no simulated storage',
    )
  const digests = nodeDigests()
  await Promise.all((['md5', 'sha256', 'xxh128'] as const).map((name) => digests.load(name)))
  return simulateBound(seed, digests, kind, part, own)
}

/**
 * Reduces a failing run: leaves out parts as long as the rest fails in the same way, names and numbers aside. `options`
 * are the options of the run. `part` repeats the reduced run.
 */
export function shrink(failed: RunReport, options: SimulateOptions = {}): Promise<Least> {
  const { seed } = failed
  return shrinkRun(failed, options.part ?? whole, (part) => simulate(seed, { ...options, part }))
}
