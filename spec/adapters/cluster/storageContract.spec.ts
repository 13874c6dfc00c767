import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { type StorageKind, storageContract } from '../../../lib/testing.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { clusterExceptions, sharedPlace } from './sharedPlace.ts'

const kind: StorageKind = {
  name: 'shared',
  location: () => {
    // The store uses the clock of the first storage that is opened.
    let store: MemorySharedStore | undefined
    return sharedPlace((platform) => {
      store ??= new MemorySharedStore(platform)
      return store.steps()
    })
  },
}

runTestCases(storageContract(kind, { seed: 7 }).filter(({ name, skipped }) => !skipped && !clusterExceptions.has(name)))
