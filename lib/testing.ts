/**
 * Test suites for the authors of adapters: the promises of each port as test cases that any test runner can run.
 */
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import type { StorageKind } from './testing/storage/fixture.ts'
import { storageTestCases } from './testing/storage.ts'
import type { TestCase } from './testing/testCases.ts'

export { type AuthenticatorFixture as Gate, authenticatorContract } from './testing/authenticator.ts'
export { type ClientStateLocation as StatePlace, receiptsContract, tasksContract } from './testing/clientState.ts'
export type {
  FailingStorageLocation as BrittlePlace,
  StorageKind,
  StorageLocation as StoragePlace,
} from './testing/storage/fixture.ts'
export type { TestCase } from './testing/testCases.ts'
export type { TransportFactory } from './testing/transport/ends.ts'
export { transportContract } from './testing/transport.ts'

export interface ContractOptions {
  /** The seed of the random test cases; random by default. */
  readonly seed?: number | undefined
}

/**
 * Returns the promises of a storage as test cases. Two of them do random operations; when one fails, its error names the seed,
 * which repeats the same operations when it is passed here.
 */
export function storageContract(kind: StorageKind, options: ContractOptions = {}): readonly TestCase[] {
  const platform = nodePlatform()
  const { seed = Math.floor(platform.random.fraction('the first seed of a contract') * 1e9) } = options
  return storageTestCases(kind, platform, seed)
}
