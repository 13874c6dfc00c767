/**
 * Test suites for the authors of adapters: the promises of each port as test cases that any test runner can run.
 */
import { nodePlatform } from './adapters/node/nodePlatform.ts'
import { catalogueSuites } from './testing/storage/catalogue.ts'
import { claimModelChecks } from './testing/storage/claimModel.ts'
import { claimSuites } from './testing/storage/claims.ts'
import { deviceModelChecks, deviceSuites } from './testing/storage/devices.ts'
import { fileSuites } from './testing/storage/files.ts'
import { openTested, type StorageKind, type StoragePlaceKind } from './testing/storage/fixture.ts'
import { mailBoundSuites } from './testing/storage/mailBounds.ts'
import { mailboxSuites } from './testing/storage/mailboxes.ts'
import { mailModelChecks } from './testing/storage/mailModel.ts'
import { receiptSuites } from './testing/storage/mailReceipts.ts'
import { transferSuites } from './testing/storage/transfers.ts'
import { type TestCase, testCasesOf } from './testing/testCases.ts'

export { type AuthenticatorFixture as Gate, authenticatorContract } from './testing/authenticator.ts'
export {
  type ClientStateLocation as StatePlace,
  outboxContract,
  receiptsContract,
  tasksContract,
} from './testing/clientState.ts'
export { type LinksLocation, type LinksServer, linksContract } from './testing/links.ts'
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

const storageSuites = [
  ...claimSuites,
  ...transferSuites,
  ...fileSuites,
  ...catalogueSuites,
  ...mailBoundSuites,
  ...mailboxSuites,
  ...receiptSuites,
  ...deviceSuites,
]

/** The capacity of small places, in bytes. */
const smallBytes = 3_000_000

/** Returns the promises of a storage as test cases. Two do random operations, which `seed` repeats; errors name it. */
export function storageContract(kind: StorageKind, options: ContractOptions = {}): readonly TestCase[] {
  const { name } = kind
  const platform = nodePlatform()
  const { seed = Math.floor(platform.random.fraction('the first seed of a contract') * 1e9) } = options
  const open = async (place: StoragePlaceKind = 'location') => openTested(await kind[place]?.(smallBytes), platform)
  return [
    ...storageSuites.map(([subject, checks, place = 'location']) => {
      const skipped = kind[place] ? undefined : `this kind of storage has no ${place}`
      return testCasesOf(subject.replace('storage', `${name} storage`), checks, () => open(place), skipped)
    }),
    testCasesOf(`the claims of a ${name} storage`, claimModelChecks(open, seed), async () => undefined),
    testCasesOf(`the mailboxes of a ${name} storage`, mailModelChecks(open, seed), async () => undefined),
    testCasesOf(`the devices of a ${name} storage`, deviceModelChecks(open, seed), async () => undefined),
  ].flat()
}
