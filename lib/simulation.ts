/**
 * For who writes an adapter of their own: the contracts of the ports as facts that any test runner can run, and the
 * simulated world, with layers or a storage of their own in it.
 */
import { nodeDigests } from './adapters/nodeDigests.ts'
import { nodePlatform } from './adapters/nodePlatform.ts'
import type { Fact } from './contract/facts.ts'
import type { StorageKind } from './contract/storage/trial.ts'
import { storageContract as storageFacts } from './contract/storage.ts'
import type { OwnLayers } from './simulation/layers.ts'
import { SeededRandom } from './simulation/random.ts'
import { type Least, shrink as shrinkRun } from './simulation/shrink.ts'
import { type Part, type RunReport, simulate as simulateBound, type WorldKind } from './simulation/simulate.ts'
import { whole } from './simulation/troubles.ts'

export { authenticatorContract, type Gate } from './contract/authenticator.ts'
export { receiptsContract, type StatePlace, tasksContract } from './contract/clientState.ts'
export type { Fact } from './contract/facts.ts'
export type { BrittlePlace, StorageKind, StoragePlace } from './contract/storage/trial.ts'
export type { Ways } from './contract/transport/ends.ts'
export { transportContract } from './contract/transport.ts'
export type { StoredAt } from './simulation/layers.ts'
export type { MortalPlace } from './simulation/mortalPlace.ts'
export type { Least } from './simulation/shrink.ts'
export type { Part, RunReport, WorldKind } from './simulation/simulate.ts'

export interface ContractOptions {
  /** The first seed of what is drawn, by chance unless it is given. */
  readonly seed?: number | undefined
}

/**
 * Every promise of a storage, as facts about one kind of it. Two of them draw what is done; where one fails it names the
 * seed, which is given here to have the same drawn again.
 */
export function storageContract(kind: StorageKind, options: ContractOptions = {}): readonly Fact[] {
  const platform = nodePlatform()
  const { seed = Math.floor(platform.random.fraction('the first seed of a contract') * 1e9) } = options
  return storageFacts(kind, platform, { seed, seeded: (seed) => new SeededRandom(seed) })
}

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
