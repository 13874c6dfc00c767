/** The simulated world: a real server and real clients in virtual time, on a faulty network and a disk that crashes. */
import { nodeDigests } from '../../lib/adapters/node/nodeDigests.ts'
import { whole } from './faults.ts'
import type { OwnLayers } from './layers.ts'
import { type Least, shrink as shrinkRun } from './shrink.ts'
import { type Part, type RunReport, simulate as simulateBound, type WorldKind } from './simulate.ts'

export type { MortalPlace } from './mortalPlace.ts'
export type { Least } from './shrink.ts'
export type { Part, RunReport, WorldKind } from './simulate.ts'

/** What a world is about, `both` unless told; and what of it is one's own. */
export interface SimulateOptions extends OwnLayers {
  readonly kind?: WorldKind | undefined
  /** What of its run takes place; everything unless told. */
  readonly part?: Part | undefined
}

/**
 * Runs a real server and real clients in virtual time, in a world that the seed draws. The same seed gives the same run, to
 * the last line of its trace, as long as layers wait and draw by the platform only. Resolves with how it has ended, also
 * where something did not hold: `failure` says what. Rejects with a RangeError where a layer is to be around a simulated
 * storage that is not there, since there is a place of one's own.
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
 * Makes a failing run smaller: leaves out what it fails without, for as long as what is left fails as it did, names and
 * numbers aside. `options` are those that it was run with. What is left is run again with `part`.
 */
export function shrink(failed: RunReport, options: SimulateOptions = {}): Promise<Least> {
  const { seed } = failed
  return shrinkRun(failed, options.part ?? whole, (part) => simulate(seed, { ...options, part }))
}
